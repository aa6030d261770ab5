/* SPDX-License-Identifier: BSD-3-Clause */
/* The float64 kernels of one ISA, compiled with -ffp-contract=off, and the ISA's whole table. */
#include <float.h>
#include <math.h>

#include "fetch.h"
#include "fm_kernels.h"
#include "fm_units.h"

#define FM_DOUBLE
#include "fm_real.h"
#include "load.h"
#include "kernels/sums.inc.h"
#include "kernels/sparse.inc.h"
#include "kernels/sparse_screen.inc.h"
#include "kernels/changes.inc.h"
#include "kernels/bound_codes.inc.h"
#include "kernels/bounds.inc.h"
#include "kernels/group_scan.inc.h"
#include "kernels/prefix.inc.h"
#include "kernels/potential.inc.h"
#include "kernels/gains.inc.h"
#include "kernels/sketch.inc.h"
#include "kernels/centers.inc.h"
#include "kernels/means.inc.h"
#include "fm_exp_log.h"
#include "kernels/gaussian.inc.h"

extern const fm_tile_kernels FM_TABLE(fm_tile_f32), FM_TABLE(fm_tile_f64);
extern const fm_mixture_kernels FM_TABLE(fm_mixture_f32), FM_TABLE(fm_mixture_f64);
extern const fm_moment_kernels FM_TABLE(fm_moments);
extern const fm_shortlist_kernels FM_TABLE(fm_shortlist_f32), FM_TABLE(fm_shortlist_f64);
extern const fm_code_kernels FM_TABLE(fm_codes_f32), FM_TABLE(fm_codes_f64);
extern const fm_margin_kernels FM_TABLE(fm_margins_f32), FM_TABLE(fm_margins_f64);

#define FM_FOUND_TABLE(type)                                                                       \
    {.bounds_own = bounds_own_##type,                                                              \
     .bounds_other = bounds_other_##type,                                                          \
     .potential = potential_##type,                                                                \
     .gain = gain_##type,                                                                          \
     .gains_listed = gains_listed_##type,                                                          \
     .accept = accept_##type,                                                                      \
     .sketch = sketch_##type,                                                                      \
     .sketch_near = sketch_near_##type}

const fm_isa FM_TABLE(fm_isa) = {
    .name = FM_STRING(FM_ISA),
    .f32 = &FM_TABLE(fm_tile_f32),
    .f64 = &FM_TABLE(fm_tile_f64),
    .found_f32 = FM_FOUND_TABLE(f32),
    .found_f64 = FM_FOUND_TABLE(f64),
    .exact = {.changes = changes,
              .bounds_open = bounds_open,
              .bounds_left = bounds_left,
              .bounds_wanted = bounds_wanted,
              .bounds_close = bounds_close,
              .bounds_renew = bounds_renew,
              .bounds_few = bounds_few,
              .prefix_quantise = prefix_quantise,
              .prefix_scan = prefix_scan,
              .accumulate = accumulate,
              .residuals = residuals,
              .add_exact = add_exact,
              .update_centers = update_centers,
              .means_add = means_add,
              .means_place = means_place,
              .means_add_entries = means_add_entries,
              .means_update = means_update,
              .means_restore = means_restore,
              .means_learn = means_learn,
              .sparse_unpack = sparse_unpack,
              .sparse_scores = sparse_scores,
              .sparse_score = sparse_score,
              .sparse_square = sparse_square,
              .sparse_residual = sparse_residual,
              .sparse_residuals = sparse_residuals,
              .sparse_accumulate = sparse_accumulate,
              .screen_centers = screen_centers,
              .screen = screen,
              .screen_rest = screen_rest},
    .mixture_f32 = &FM_TABLE(fm_mixture_f32),
    .mixture_f64 = &FM_TABLE(fm_mixture_f64),
    .moments = &FM_TABLE(fm_moments),
    .gaussian = {.unpack_second = unpack_second,
                 .mean_covariance = mean_covariance,
                 .factor = factor,
                 .triangular_product = triangular_product,
                 .log_all = log_all},
    .shortlist_f32 = &FM_TABLE(fm_shortlist_f32),
    .shortlist_f64 = &FM_TABLE(fm_shortlist_f64),
    .codes_f32 = &FM_TABLE(fm_codes_f32),
    .codes_f64 = &FM_TABLE(fm_codes_f64),
    .margins_f32 = &FM_TABLE(fm_margins_f32),
    .margins_f64 = &FM_TABLE(fm_margins_f64),
};
