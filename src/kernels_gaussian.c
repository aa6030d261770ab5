/* SPDX-License-Identifier: BSD-3-Clause */
/* The mixture kernels of one ISA, compiled with -ffp-contract=fast: every floating expression holds
 * at most one product, no product is used both as a factor and as an addend, and none is parted
 * from its sum by a condition at run time, so that the compiler has no choice what to fuse. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "fetch.h"
#include "fm_kernels.h"
#include "fm_units.h"

#include "fm_real.h"
#include "fm_exp_log.h"
#include "fm_live.h"
#include "kernels/mahalanobis.inc.h"
#include "kernels/diagonal.inc.h"
#include "kernels/exponentials.inc.h"
#include "kernels/softmax.inc.h"
#include "kernels/listed_squares.inc.h"
#include "kernels/mixture_bounds.inc.h"
const fm_mixture_kernels FM_TABLE(fm_mixture_f32) = FM_MIXTURE_TABLE;

#define FM_DOUBLE
#include "fm_real.h"
#include "fm_exp_log.h"
#include "fm_live.h"
#include "load.h"
#include "kernels/mahalanobis.inc.h"
#include "kernels/diagonal.inc.h"
#include "kernels/exponentials.inc.h"
#include "kernels/softmax.inc.h"
#include "kernels/listed_squares.inc.h"
#include "kernels/mixture_bounds.inc.h"
#include "kernels/frame_rows.inc.h"
#include "kernels/moments.inc.h"
#include "kernels/moments_few.inc.h"
#include "kernels/moments_diagonal.inc.h"
const fm_mixture_kernels FM_TABLE(fm_mixture_f64) = FM_MIXTURE_TABLE;

const fm_moment_kernels FM_TABLE(fm_moments) = {.frame_rows = frame_rows,
                                                .frame_columns = frame_columns,
                                                .square_rows = square_rows,
                                                .full = moments_full,
                                                .diagonal = moments_diagonal,
                                                .diagonal_every = diagonal_every,
                                                .spherical = moments_spherical,
                                                .few = moments_few,
                                                .fold_few = fold_few,
                                                .add_lanes = add_lanes,
                                                .fold_lanes = fold_lanes};
