/* SPDX-License-Identifier: BSD-3-Clause */
/* The kernels of one ISA on codes of 8 bits: compiled like the kernels on tiles, whose scores they
 * repeat, and with the instructions that multiply bytes, where there are any. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "fm_kernels.h"
#include "fm_units.h"

#include "fm_real.h"
#include "fm_bytes.h"
#include "kernels/bound_codes.inc.h"
#include "kernels/group_scan.inc.h"
#include "kernels/short_scan.inc.h"
/* Where a tile has sixteen rows or more. */
#if FM_TILE_VECTORS * FM_VECTOR_BYTES >= 64
#include "kernels/shortlist.inc.h"
#include "kernels/shortlist_centers.inc.h"
#include "kernels/row_codes.inc.h"
const fm_shortlist_kernels FM_TABLE(fm_shortlist_f32) = FM_SHORTLIST_TABLE;
const fm_code_kernels FM_TABLE(fm_codes_f32) = FM_CODE_TABLE;
#else
const fm_shortlist_kernels FM_TABLE(fm_shortlist_f32) = {0};
const fm_code_kernels FM_TABLE(fm_codes_f32) = {0};
#endif

#define FM_DOUBLE
#include "fm_real.h"
#if FM_TILE_VECTORS * FM_VECTOR_BYTES >= 128
#include "kernels/shortlist.inc.h"
#include "kernels/shortlist_centers.inc.h"
#include "kernels/row_codes.inc.h"
const fm_shortlist_kernels FM_TABLE(fm_shortlist_f64) = FM_SHORTLIST_TABLE;
const fm_code_kernels FM_TABLE(fm_codes_f64) = FM_CODE_TABLE;
#else
const fm_shortlist_kernels FM_TABLE(fm_shortlist_f64) = {0};
const fm_code_kernels FM_TABLE(fm_codes_f64) = {0};
#endif
