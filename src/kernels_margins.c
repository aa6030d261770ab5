/* SPDX-License-Identifier: BSD-3-Clause */
/* The kernels of one ISA on margins: with the instructions that multiply pairs of 16 bits,
 * where there are any. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "fetch.h"
#include "fm_kernels.h"
#include "fm_units.h"

#include "fm_real.h"
#include "fm_bytes.h"
#include "load.h"
#include "kernels/margins.inc.h"
#include "kernels/margin_keys.inc.h"
#include "kernels/candidates.inc.h"
#include "kernels/margin_met.inc.h"
#include "kernels/margin_scan.inc.h"
#include "kernels/margin_few.inc.h"
const fm_margin_kernels FM_TABLE(fm_margins_f32) = FM_MARGIN_TABLE;

#define FM_DOUBLE
#include "fm_real.h"
#include "load.h"
#include "kernels/margin_scan.inc.h"
#include "kernels/margin_few.inc.h"
const fm_margin_kernels FM_TABLE(fm_margins_f64) = FM_MARGIN_TABLE;
