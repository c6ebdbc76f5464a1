// SPDX-License-Identifier: BSD-2-Clause
// Everything.
#pragma once

#include "fiber/blocking.h"
#include "fiber/channel.h"
#include "fiber/context.h"
#include "fiber/fiber.h"
#include "fiber/limit.h"
#include "fiber/net.h"
#include "fiber/runtime.h"
#include "fiber/select.h"
#include "fiber/sync.h"
#include "fiber/time.h"
