/* SPDX-License-Identifier: BSD-3-Clause */
/* The kernels on packed tiles of one ISA, compiled with -ffp-contract=fast: every floating
 * expression holds at most one product, so that the compiler has no choice what to fuse. */
#include <math.h>

#include "fetch.h"
#include "fm_kernels.h"
#include "fm_units.h"

#include "fm_real.h"
#include "load.h"
#include "kernels/pack.inc.h"
#include "kernels/assign.inc.h"
#include "kernels/row_scores.inc.h"
#include "kernels/nearest.inc.h"
#include "kernels/distances.inc.h"
#include "kernels/peak.inc.h"
const fm_tile_kernels FM_TABLE(fm_tile_f32) = FM_TILE_TABLE;

#define FM_DOUBLE
#include "fm_real.h"
#include "load.h"
#include "kernels/pack.inc.h"
#include "kernels/assign.inc.h"
#include "kernels/row_scores.inc.h"
#include "kernels/nearest.inc.h"
#include "kernels/distances.inc.h"
#include "kernels/peak.inc.h"
const fm_tile_kernels FM_TABLE(fm_tile_f64) = FM_TILE_TABLE;
