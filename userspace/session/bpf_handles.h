// SPDX-License-Identifier: BSD-2-Clause
// Owners of libbpf's objects.
#pragma once

#include <bpf/libbpf.h>

#include <memory>

namespace fiberprof {

struct LinkEnd {
  void operator()(bpf_link* link) const { bpf_link__destroy(link); }
};
using UniqueLink = std::unique_ptr<bpf_link, LinkEnd>;

template <class Skeleton>
struct SkeletonEnd {
  void operator()(Skeleton* skeleton) const { Skeleton::destroy(skeleton); }
};
template <class Skeleton>
using UniqueSkeleton = std::unique_ptr<Skeleton, SkeletonEnd<Skeleton>>;

}  // namespace fiberprof
