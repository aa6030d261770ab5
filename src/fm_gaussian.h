/* SPDX-License-Identifier: BSD-3-Clause */
/* The kernels of Gaussian mixtures: what the drivers hand them.  Legend in fm_kernels.h; further,
 *
 *   P        (d, d) float64, lower triangular: Sigma^-1 = P^T P
 *   r        responsibilities, [component][stride]: a row of them is one component's
 *   y        rows in float64 in the frame: x * scale - offset
 *   list     positions in the block of the rows that a component's sums visit
 *
 * Per block a driver calls pack, then mahalanobis for each component (or whiten and distances,
 * diagonal, spherical), softmax, frame_rows, and for each component select_rows and its moments;
 * with full covariances and d <= 4 frame_columns, widen and few.  tests/em_main.c does all of it.
 *
 * Rows are numbered within the block.  An array [component][stride] has stride >= count rounded up
 * to a multiple of tile_rows and of 16; an odd number of 64-byte lines keeps its rows out of each
 * other's cache sets.  Formulas and error bounds are at the head of each file below kernels/.
 * Included by fm_kernels.h.
 */
#ifndef FM_GAUSSIAN_H
#define FM_GAUSSIAN_H

/* Doubles of a row of y, and of first, of d columns. */
#define FM_MOMENT_STRIDE(d) (((d) + 7) / 8 * 8)
/* The lower triangle of second moments: its doubles, and where row i of it begins. */
#define FM_SECOND_SIZE(d) (32 * (((d) + 7) / 8) * (((d) + 7) / 8 + 1))
#define FM_SECOND_ROW(i) (32 * ((i) / 8) * ((i) / 8 + 1) + (i) % 8 * 8 * ((i) / 8 + 1))
/* Rows that the sums of a full component take at a time: 24 KiB of scaled rows at the most. */
#define FM_MOMENT_LIST 128
#define FM_MOMENT_SCRATCH (24 * FM_MOMENT_LIST)
/* Bytes of scratch of the bounds, of blocks of at most `rows` rows. */
#define FM_BOUND_SCRATCH(rows, d) (28 * ((rows) + 64) + 2 * 2 * 64 * ((d) + 1))
/* Sums of a component with d <= 4 columns: weight, first, second; and doubles of their lanes. */
#define FM_FEW_SUMS(d) (1 + (d) + (d) * ((d) + 1) / 2)
#define FM_FEW_SIZE(d) (16 * FM_FEW_SUMS(d))

/* Bounds of the rows and components of one fit: kernels/mixture_bounds.inc.h.  Arrays without a
 * word are by component. */
typedef struct {
    uint8_t *codes; /* [block][component][row of the block, rounded up to 64] */
    int32_t *best;  /* of every row: the component of its largest term */
    float *upper;   /* of every row: of the distance to that component, as it was then */
    ptrdiff_t k;
    const float *low_scale, *low_shift;     /* code -> a lower bound now */
    const float *code_scale, *code_shift;   /* distance now -> code */
    const float *up_scale, *up_shift;       /* upper -> an upper bound now */
    const float *upper_scale, *upper_shift; /* distance now -> upper */
    const float *twice;                     /* constants, as packed, times two */
    const float *renew_scale, *renew_shift; /* code -> code, where renewed */
    const float *renew_up_scale, *renew_up_shift;
    const uint8_t *renewed; /* NULL: none */
} fm_mixture_bounds;

/* The pairs of a block's rows and components that are computed, the others having no share. */
typedef struct {
    int32_t *rows;      /* [component][stride], in order */
    void *shares;       /* [component][stride], reals */
    ptrdiff_t *found;   /* of every component: how many, in the end those with a share */
    ptrdiff_t stride;   /* at least count, rounded up to 64 */
    ptrdiff_t computed; /* of all components */
} fm_open_pairs;

/* E-step on packed tiles, one table per dtype; `void *` are reals. */
typedef struct {
    /* Components of a group of a diagonal or spherical panel. */
    ptrdiff_t diagonal_width;

    /* Panel, d (d + 3) / 2 reals, of one component: P and its mean (d), NULL for zero. */
    void (*pack_factor)(const double *factor, const double *mean, ptrdiff_t d, void *panel);

    /* out[i] = |P (x_i - mean)|^2, i < count rounded up to a tile.  scratch: (d, tile_rows). */
    void (*mahalanobis)(const void *tiles, ptrdiff_t count, ptrdiff_t d, const void *panel,
                        void *out, void *scratch);

    /* Tiles of P x, for tied components: then `distances` to the panel of P mean_k. */
    void (*whiten)(const void *tiles, ptrdiff_t count, ptrdiff_t d, const void *panel, void *out);

    /* Panel of k components: mean (k, d) and scale = 1 / standard deviation, (k, d), or (k) where
     * spherical.  Reals: k rounded up to diagonal_width, times 2 d, or d + 1. */
    void (*pack_diagonal)(const double *mean, const double *scale, ptrdiff_t k, ptrdiff_t d,
                          int spherical, void *panel);
    /* out[j * stride + i] = squared Mahalanobis distances; next is fetched meanwhile. */
    void (*diagonal)(const void *tiles, ptrdiff_t count, ptrdiff_t d, const void *panel,
                     ptrdiff_t k, void *out, ptrdiff_t stride, fm_memory next);
    void (*spherical)(const void *tiles, ptrdiff_t count, ptrdiff_t d, const void *panel,
                      ptrdiff_t k, void *out, ptrdiff_t stride, fm_memory next);

    /* ln pi_k + ln det P_k - d/2 ln 2 pi, relative to their greatest, which is returned; -inf is a
     * component without weight. */
    double (*pack_constants)(const double *constants, ptrdiff_t k, void *packed);

    /* In place: squared distances become responsibilities, exactly zero below the cut-off and zero
     * from count on.  log_prob (count); entropy (count) of each row, or NULL.  Returns how
     * many are not zero, those of a last tile's spare rows too, or -1 where the log_prob of a row is
     * not finite; expected, what the block before returned (0 for the first), decides how they are
     * computed, and no bit. */
    ptrdiff_t (*softmax)(void *terms, ptrdiff_t count, ptrdiff_t k, ptrdiff_t stride,
                         const void *constants, double greatest, ptrdiff_t expected,
                         double *log_prob, double *entropy);

    /* In place of mahalanobis for every component and softmax: responsibilities of the pairs that
     * bounds leave open, log_prob (count), and the bounds of what was computed.  rows (count, d) are
     * the block's as packed, row_stride reals apart; next is fetched meanwhile; scratch:
     * FM_BOUND_SCRATCH.  Returns the pairs with a share, or -1 as softmax does. */
    ptrdiff_t (*bounds_expect)(const fm_mixture_bounds *b, ptrdiff_t start, ptrdiff_t count,
                               const void *rows, ptrdiff_t row_stride, ptrdiff_t d,
                               const char *panels, ptrdiff_t panel_bytes, const void *constants,
                               double greatest, fm_open_pairs *pairs, double *log_prob,
                               fm_memory next, void *scratch);
    /* Bounds of rows start .. start + count from the squared distances of all their pairs: rows `at`
     * and so on, a multiple of 64, of a block of `rows`. */
    void (*bounds_take)(const fm_mixture_bounds *b, ptrdiff_t start, ptrdiff_t count, ptrdiff_t at,
                        ptrdiff_t rows, const void *terms, ptrdiff_t stride, void *scratch);

    /* The list of rows with r w > 0 (w indexed as r, NULL: 1), their r w, and how many; both arrays
     * have room for eight more than the rows. */
    ptrdiff_t (*select_rows)(const void *r, const double *w, ptrdiff_t count, int32_t *list,
                             double *out);
    /* The same of the pairs of one component: their rows, and r w, w indexed by row. */
    ptrdiff_t (*weigh_pairs)(const void *shares, const int32_t *rows, ptrdiff_t count,
                             const double *w, int32_t *list, double *out);
    /* out[i] = r w of all rows, zero from count to a multiple of 16. */
    void (*widen)(const void *r, const double *w, ptrdiff_t count, double *out);

    /* exp (arguments in [-80, 80] for f32, [-700, 700] for f64) and log (positive, normal) of
     * count reals, in place; errors of at most 2 ulp. */
    void (*exp_all)(void *x, ptrdiff_t count);
    void (*log_all)(void *x, ptrdiff_t count);
} fm_mixture_kernels;

/* Moments in float64 for both dtypes.  All add to what they find. */
typedef struct {
    /* y [i][FM_MOMENT_STRIDE(d)], padded with zeros; and, d <= 4, y [t][stride], stride >= count
     * rounded up to 16. */
    void (*frame_rows)(const fm_matrix *x, const fm_block *block, const double *offset,
                       double scale, double *y);
    void (*frame_columns)(const fm_matrix *x, const fm_block *block, const double *offset,
                          double scale, double *y, ptrdiff_t stride);
    /* out[i] = |y_i|^2. */
    void (*square_rows)(const double *y, ptrdiff_t d, ptrdiff_t count, double *out);

    /* weight += sum r, first (FM_MOMENT_STRIDE(d)) += sum r y, second (FM_SECOND_SIZE(d)) += sum
     * r y y^T over the list.  Tied: one call with the list of all rows and their weights.
     * scratch: FM_MOMENT_SCRATCH, aligned to 64. */
    void (*full)(const double *y, ptrdiff_t d, const int32_t *list, const double *r,
                 ptrdiff_t count, double *weight, double *first, double *second, double *scratch);
    /* second (FM_MOMENT_STRIDE(d)) += sum r y^2.  The weight is left to add_lanes. */
    void (*diagonal)(const double *y, ptrdiff_t d, const int32_t *list, const double *r,
                     ptrdiff_t count, double *first, double *second);
    /* The same of k components over all rows, r [component][r_stride] as from widen: for blocks in
     * which nearly all pairs have a share; and the weights.  lanes (k, 16), first and second
     * (k, FM_MOMENT_STRIDE(d)). */
    void (*diagonal_every)(const double *y, ptrdiff_t d, const double *r, ptrdiff_t r_stride,
                           ptrdiff_t k, ptrdiff_t count, double *lanes, double *first,
                           double *second);
    /* second (1) += sum r |y|^2; squares NULL: weight and first alone, for tied components. */
    void (*spherical)(const double *y, ptrdiff_t d, const int32_t *list, const double *r,
                      ptrdiff_t count, const double *squares, double *weight, double *first,
                      double *second);

    /* Full, d <= 4, in place of the list: y by columns, r of all rows as from widen; lanes
     * FM_FEW_SIZE(d).  A block starts at a multiple of 16 rows of its slot. */
    void (*few)(const double *y, ptrdiff_t stride, ptrdiff_t d, const double *r, ptrdiff_t count,
                double *lanes);
    /* The lanes of a slot, added to weight, first and second. */
    void (*fold_few)(const double *lanes, ptrdiff_t d, double *weight, double *first,
                     double *second);

    /* lanes[i mod 16] += w_i v_i (w NULL: 1) over a block, and their sum in one fixed order. */
    void (*add_lanes)(const double *v, const double *w, ptrdiff_t count, double *lanes);
    double (*fold_lanes)(const double *lanes);
} fm_moment_kernels;

/* M-step in float64 without fused multiply-adds: one set of bits for every table.  The first two are
 * for programs in C (tests/em_main.c); the package has the same in core/_moments.py. */
typedef struct {
    void (*unpack_second)(const double *second, ptrdiff_t d, double *full);
    /* mean = first / weight, covariance (d, d) = second / weight - mean mean^T; weight > 0. */
    void (*mean_covariance)(double weight, const double *first, const double *second, ptrdiff_t d,
                            double *mean, double *covariance);
    /* P and ln det P of a covariance; -1, or the first pivot below DBL_MIN or not finite.
     * scratch: (d, d). */
    ptrdiff_t (*factor)(const double *covariance, ptrdiff_t d, double *p, double *log_det,
                        double *scratch);
    /* out = P x. */
    void (*triangular_product)(const double *p, const double *x, ptrdiff_t d, double *out);
    /* out[i] = ln x_i, positive and normal. */
    void (*log_all)(const double *x, ptrdiff_t count, double *out);
} fm_gaussian_kernels;

#endif
