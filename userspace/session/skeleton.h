// SPDX-License-Identifier: BSD-2-Clause
// The generated skeleton of bpf/fiberprof.bpf.c, which is not written to our warning level.
#pragma once

// First: the skeleton names types of it.
#include "shared.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#include "fiberprof.skel.h"
#pragma GCC diagnostic pop
