// SPDX-License-Identifier: BSD-2-Clause
// Build-time switches of the public headers.
#pragma once

#if defined(FIBER_BUILDING_LIBRARY)
#define FIBER_API __attribute__((visibility("default")))
#else
#define FIBER_API
#endif
