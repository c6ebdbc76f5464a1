// SPDX-License-Identifier: BSD-2-Clause
// Everything.
#pragma once

#include "fiber/barrier.h"
#include "fiber/blocking.h"
#include "fiber/channel.h"
#include "fiber/context.h"
#include "fiber/fiber.h"
#include "fiber/limit.h"
#include "fiber/local.h"
#include "fiber/net.h"
#include "fiber/once.h"
#include "fiber/runtime.h"
#include "fiber/rwlock.h"
#include "fiber/select.h"
#include "fiber/semaphore.h"
#include "fiber/sync.h"
#include "fiber/time.h"
#include "fiber/timer.h"
