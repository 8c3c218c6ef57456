/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The figures that judgements tell, too, stand in the model. */
#ifndef STAKEOUT_FORMAT_H
#define STAKEOUT_FORMAT_H

#include "model/format.h"

#endif
