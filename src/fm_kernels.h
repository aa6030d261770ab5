/* SPDX-License-Identifier: BSD-3-Clause */
/* The kernels of fastmix: what the drivers hand them, and one table of pointers per ISA.
 *
 * Legend, for every file below src/:
 *   n d k        rows, columns, clusters
 *   x c w        data, centres, weights
 *   slot         a fixed partial-sum buffer
 *   block        the rows of one kernel call
 *   tile         the rows of one register block, packed [d][tile_rows]
 *   panel        packed centres, [group][d][panel_width], padded with centres never chosen
 *   offset       pivot * scale, so that a packed value is x * scale - offset
 *
 * Kernels are serial, allocate nothing, and know neither Python nor threads.  `real` is float or
 * double; since one table type serves both, arrays of `real` cross this boundary as void *.
 */
#ifndef FM_KERNELS_H
#define FM_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* Element types that a matrix may have; the order is that of the loaders in load.h. */
enum fm_type {
    FM_F64,
    FM_F32,
    FM_F16,
    FM_LONG_DOUBLE,
    FM_I8,
    FM_U8,
    FM_I16,
    FM_U16,
    FM_I32,
    FM_U32,
    FM_I64,
    FM_U64
};

/* A dense matrix in the user's memory: any strides (bytes), any element type, read only. */
typedef struct {
    const char *data;
    ptrdiff_t n, d;
    ptrdiff_t row_stride, col_stride;
    int type;    /* enum fm_type */
    int swapped; /* bytes in the other order than this machine's */
} fm_matrix;

/* A CSR matrix in the user's memory; indices of 4 or 8 bytes. */
typedef struct {
    const char *elements;
    const void *columns, *starts;
    ptrdiff_t n, d, element_size, index_size;
    int type, swapped;
} fm_csr;

/* The rows of one kernel call, at least one: rows[0 .. count), or start .. start + count where rows
 * is NULL. */
typedef struct {
    const ptrdiff_t *rows;
    ptrdiff_t start, count;
} fm_block;

/* What the caller will read after this call, to be fetched into the caches during it (fetch.h); it
 * need not be readable. */
typedef struct {
    const char *start;
    ptrdiff_t bytes;
} fm_memory;

/* The exact sums of one fit (kernels/sums.inc.h): their frame and their grids. */
typedef struct {
    ptrdiff_t d;      /* columns of x */
    ptrdiff_t stride; /* columns of the statistics: d + 2 rounded up to 4 */
    double scale;
    const double *offset; /* (d) */
    const double *coarse; /* (stride) 1.5 * 2^52 * unit of the coarse grid */
    const double *fine;   /* (stride) the same for the fine grid */
} fm_grid;

#define FM_PROJECTED_ROWS 64

/* Kernels on packed tiles, one table per dtype. */
typedef struct {
    ptrdiff_t itemsize, tile_rows, panel_width, distance_width, nearest_width;

    /* Bytes of scratch that assign needs for a block of count rows. */
    ptrdiff_t (*assign_scratch)(ptrdiff_t count, ptrdiff_t d);

    /* Tiles of the block's rows, (x * scale - offset) as [d][tile_rows]; lanes beyond the last row
     * repeat it.  scratch: (tile_rows * d) reals. */
    void (*pack)(const fm_matrix *x, const fm_block *block, const void *offset, double scale,
                 void *tiles, fm_memory next, void *scratch);

    /* Panel, in groups of width, of the centres c, (k, d) float64 row-major, and, where not NULL,
     * bias -|c|^2 / 2, (k padded).  assign reads groups of panel_width, distances of
     * distance_width. */
    void (*pack_centers)(const double *c, ptrdiff_t k, ptrdiff_t d, ptrdiff_t width, void *panel,
                         void *bias);

    /* The j-th of them alone. */
    void (*pack_center)(const double *c, ptrdiff_t j, ptrdiff_t d, ptrdiff_t width, void *panel,
                        void *bias);

    /* The label of one row (d) as kernel gather leaves it, against k centres in a panel of
     * nearest_width: kernels/nearest.inc.h. */
    int32_t (*nearest)(const void *row, ptrdiff_t d, const void *panel, const void *bias,
                       ptrdiff_t k);

    /* labels[i] = argmin_j |x_i - c_j|^2, ties to the lowest j; where second is not NULL also
     * the runner-up.  scratch: assign_scratch() bytes, aligned to 64. */
    void (*assign)(const void *tiles, ptrdiff_t count, ptrdiff_t d, const void *panel,
                   const void *bias, ptrdiff_t k, int32_t *labels, int32_t *second, fm_memory next,
                   void *scratch);
    /* The same, and by how much the score of the label is above that of the runner-up: infinite
     * where there is none. */
    void (*assign_leads)(const void *tiles, ptrdiff_t count, ptrdiff_t d, const void *panel,
                         const void *bias, ptrdiff_t k, int32_t *labels, float *leads,
                         void *scratch);

    /* The block's rows as x * scale - offset, row-major, and their |x|^2, the i-th at places[i], or
     * where places is NULL at i.  scratch: (d) reals. */
    void (*gather)(const fm_matrix *x, const fm_block *block, const void *offset, double scale,
                   const int32_t *places, void *rows, void *squares, void *scratch);

    /* Rows list[0 .. count), or 0 .. count, of rows (., d) against k centres in a panel of width
     * FM_GROUP_WIDTH: the label, its score x.c - |c|^2 / 2 and the runner-up's, -inf where there is
     * none; all hold count rounded up to 64. */
    void (*row_scores)(const void *rows, const int32_t *list, ptrdiff_t count, ptrdiff_t d,
                       const void *panel, const void *bias, ptrdiff_t k, int32_t *labels,
                       void *scores, void *seconds);

    /* out[t * FM_PROJECTED_ROWS + i] = x_i . v_t of count <= FM_PROJECTED_ROWS rows (., d) for the
     * vectors v in a panel of width FM_GROUP_WIDTH, with zero biases for each; out holds m rounded
     * up to that width. */
    void (*project)(const void *rows, ptrdiff_t count, ptrdiff_t d, const void *panel,
                    const void *bias, ptrdiff_t m, void *out);

    /* out[j * stride + i] = |x_i - c_j|^2 by differences; stride >= count rounded up to a tile. */
    void (*distances)(const void *tiles, ptrdiff_t count, ptrdiff_t d, const void *panel,
                      ptrdiff_t k, void *out, ptrdiff_t stride);

    /* Minima and maxima by column and lane, merged into low and high (d, tile_rows); 0 if a value
     * is not finite. */
    int (*extremes)(const void *tiles, ptrdiff_t count, ptrdiff_t d, void *low, void *high);

    /* Multiply-adds in registers, for the benchmarks; returns the FLOPs done. */
    ptrdiff_t (*multiply_add_flops)(ptrdiff_t repeats, double *out);
} fm_tile_kernels;

#include "fm_bounds.h"
#include "fm_gaussian.h"
#include "fm_margins.h"
#include "fm_shortlist.h"

/* Centres as numbers of 16 bits (kernels/sparse_screen.inc.h); arrays of k have padded elements. */
typedef struct {
    const int16_t *q; /* (d, padded) centre j is step_j q_j */
    const float *step, *bias;
    const float *slack; /* how far bias and its sum may be off */
    ptrdiff_t padded;   /* k rounded up to FM_SCREEN_WIDTH */
    double unit;        /* a power of two that brings the centres below 2 */
} fm_screen;
#define FM_SCREEN_WIDTH 16

/* Running means of clusters (kernels/means.inc.h), in float64; (., 2, .) are high and low parts. */
typedef struct {
    ptrdiff_t d;
    double scale;
    const double *offset; /* (d) */
    double *sums;         /* (k, 2, d) of w x scale */
    double *weights;      /* (k, 2) */
    double *means;        /* (k, d) sums / weights */
    double *centers;      /* (k, d) means - offset */
} fm_means;

/* Kernels without fused multiply-adds on what the tiles' kernels found, one table per dtype. */
typedef struct {
    void (*bounds_own)(const fm_bounds *b, const fm_found *f, ptrdiff_t own, ptrdiff_t start,
                       ptrdiff_t count, fm_open *open);
    void (*bounds_other)(const fm_bounds *b, const fm_found *f, ptrdiff_t group, ptrdiff_t start,
                         ptrdiff_t count, fm_open *open);

    /* sum_i w_i min(closest_i, distance_i) in float64; keep, where not NULL, takes the minima. */
    double (*potential)(const void *distance, const void *closest, const double *w, ptrdiff_t count,
                        void *keep);

    /* Seeding candidates: what they take off a slot's potential (kernels/gains.inc.h). */
    double (*gain)(const void *distance, const void *closest, const double *w, ptrdiff_t count,
                   double *left);
    ptrdiff_t (*gains_listed)(const void *distances, ptrdiff_t stride, ptrdiff_t k,
                              const ptrdiff_t *rows, ptrdiff_t start, ptrdiff_t count,
                              const void *closest, const double *w, double *out, int32_t *note,
                              void *noted, ptrdiff_t room);
    void (*accept)(const int32_t *note, const void *noted, ptrdiff_t found, int32_t candidate,
                   void *closest);

    /* Rows in one byte a column, and the rows that candidates may be nearer to
     * (kernels/sketch.inc.h). */
    void (*sketch)(const void *tiles, ptrdiff_t tile_rows, ptrdiff_t count, ptrdiff_t d,
                   const double *steps, const double *inverse, double error, double unit,
                   int8_t *to, float *half);
    ptrdiff_t (*sketch_near)(const int8_t *bytes, const float *half, ptrdiff_t d,
                             const void *closest, double factor, const fm_matrix *x,
                             ptrdiff_t start, ptrdiff_t count, const int32_t *panel, ptrdiff_t k,
                             const float *unit, const float *bias, ptrdiff_t *list);
} fm_found_kernels;

/* Kernels in float64 on the user's rows, without fused multiply-adds: one set of bits.  What only
 * steers, as screens and bounds do, is in float32, and in whatever way is fast. */
typedef struct {
    /* labels[row] = now[i]; lists the rows whose label changed, in order, with their new and old
     * labels, and returns how many. */
    ptrdiff_t (*changes)(const int32_t *now, const fm_block *block, int32_t *labels,
                         ptrdiff_t *changed, int32_t *added, int32_t *removed);

    ptrdiff_t (*bounds_open)(const fm_bounds *b, ptrdiff_t start, ptrdiff_t count, int32_t *list);
    ptrdiff_t (*bounds_left)(const fm_bounds *b, ptrdiff_t start, ptrdiff_t count, int32_t *list);
    void (*bounds_wanted)(const fm_bounds *b, fm_open *open, ptrdiff_t own, ptrdiff_t start,
                          ptrdiff_t first, ptrdiff_t count);
    ptrdiff_t (*bounds_close)(const fm_bounds *b, const fm_open *open, ptrdiff_t start,
                              ptrdiff_t count, ptrdiff_t *changed, int32_t *added,
                              int32_t *removed);
    void (*bounds_renew)(const fm_bounds *b, ptrdiff_t start, ptrdiff_t count);
    void (*bounds_few)(const fm_bounds *b, fm_open *open, ptrdiff_t start, ptrdiff_t count,
                       ptrdiff_t few);

    /* Leading coordinates of rows, from those that kernel project found; and what they prove. */
    void (*prefix_quantise)(const double *y, const double *squares, ptrdiff_t count, ptrdiff_t m,
                            const fm_prefix *p, int16_t *rows, int32_t *half);
    ptrdiff_t (*prefix_scan)(const fm_bounds *b, const fm_prefix *p, ptrdiff_t group,
                             ptrdiff_t panel, ptrdiff_t n_panels, ptrdiff_t start,
                             const fm_open *open, int32_t *list, ptrdiff_t count);

    /* sums[added[i]] += statistics of row i, sums[removed[i]] -= the same (removed NULL, or < 0:
     * nothing to remove).  w is indexed by row, added and removed by position in the block.
     * scratch: (FM_SUM_ROWS * stride). */
    void (*accumulate)(const fm_matrix *x, const fm_block *block, const double *w,
                       const fm_grid *grid, const int32_t *added, const int32_t *removed,
                       double *sums, double *scratch);

    /* out[i] = |y_i - c_labels[i]|^2, c (k, d) in the frame of the grid.  scratch: (d). */
    void (*residuals)(const fm_matrix *x, const fm_block *block, const fm_grid *grid,
                      const double *c, const int32_t *labels, double *out, double *scratch);

    /* total[0 .. 1] += w v on the given grids (w NULL: 1). */
    void (*add_exact)(const double *v, const double *w, ptrdiff_t count, double coarse, double fine,
                      double *total);

    /* centers and weights of k clusters from their sums; report: objective with the old centers,
     * with the new, and the sum of squared shifts. */
    void (*update_centers)(const double *sums, ptrdiff_t k, ptrdiff_t d, ptrdiff_t stride,
                           const double *old, double *centers, double *weights, double report[3]);

    /* Rows (count) added in their order to the sums and the weight of cluster j; w is indexed by row.
     * scratch: (d). */
    void (*means_add)(const fm_means *m, const fm_matrix *x, const ptrdiff_t *rows, ptrdiff_t count,
                      const double *w, ptrdiff_t j, double *scratch);
    /* The same for one row as sparse_unpack leaves it. */
    void (*means_add_entries)(const fm_means *m, const ptrdiff_t *column, const double *y,
                              ptrdiff_t count, double w, ptrdiff_t j);
    /* Centre j is this row. */
    void (*means_place)(const fm_means *m, const fm_matrix *x, ptrdiff_t row, ptrdiff_t j);
    /* Mean and centre of cluster j from its sums, and sums and mean from its centre. */
    void (*means_update)(const fm_means *m, ptrdiff_t j);
    void (*means_restore)(const fm_means *m, ptrdiff_t j);
    /* Sequential update (PRML 9.5) of cluster j by a row of weight w: the mean of all its rows where
     * step < 0, else step of the way.  Returns |y - c_j|^2 before.  scratch: (2 d). */
    double (*means_learn)(const fm_means *m, const fm_matrix *x, ptrdiff_t row, double w,
                          double step, ptrdiff_t j, double *scratch);

    /* One row of a CSR matrix at a time: kernels/sparse.inc.h. */
    void (*sparse_unpack)(const fm_csr *x, ptrdiff_t row, double scale, ptrdiff_t *column,
                          double *y, ptrdiff_t *count);
    void (*sparse_scores)(const ptrdiff_t *column, const double *y, ptrdiff_t count,
                          const double *ct, const double *bias, ptrdiff_t padded, double *score);
    double (*sparse_score)(const ptrdiff_t *column, const double *y, ptrdiff_t count,
                           const double *c, double bias);
    double (*sparse_square)(const double *y, ptrdiff_t count);
    double (*sparse_residual)(const ptrdiff_t *column, const double *y, ptrdiff_t count,
                              const double *c, double norm);
    void (*sparse_residuals)(const ptrdiff_t *column, const double *y, ptrdiff_t count,
                             const double *panel, const double *norms, double *out);
    void (*sparse_accumulate)(const ptrdiff_t *column, const double *y, ptrdiff_t count, double w,
                              const fm_grid *grid, double sign, double *sums);

    /* Centres as numbers of 16 bits, and the centres that may be nearest to a row:
     * kernels/sparse_screen.inc.h. */
    void (*screen_centers)(const double *c, ptrdiff_t k, ptrdiff_t d, const double *inverse,
                           ptrdiff_t first, ptrdiff_t last, ptrdiff_t padded, int16_t *q);
    ptrdiff_t (*screen)(const fm_screen *s, const ptrdiff_t *column, const double *y,
                        ptrdiff_t count, float *least, float *scores, int32_t *found);
    float (*screen_rest)(const fm_screen *s, float *scores, int32_t but);
} fm_exact_kernels;

typedef struct {
    const char *name;
    const fm_tile_kernels *f32, *f64;
    fm_found_kernels found_f32, found_f64;
    fm_exact_kernels exact;
    const fm_mixture_kernels *mixture_f32, *mixture_f64;
    const fm_moment_kernels *moments;
    fm_gaussian_kernels gaussian;
    const fm_shortlist_kernels *shortlist_f32, *shortlist_f64;
    const fm_code_kernels *codes_f32, *codes_f64;
    const fm_margin_kernels *margins_f32, *margins_f64;
} fm_isa;

/* Columns of the statistics of one cluster: d sums, the weight, the squares, padding. */
#define FM_SUM_STRIDE(d) (((d) + 5) / 4 * 4)
/* Columns of scratch that accumulate needs, in rows of that stride. */
#define FM_SUM_ROWS 16

/* grid.c: coarse and fine (stride) for n rows with |y_t| <= largest[t] and weights of at most
 * largest_weight; and for one column of addends of at most `largest`. */
void fm_grid_units(const double *largest, double largest_weight, ptrdiff_t n, ptrdiff_t d,
                   double *coarse, double *fine);
void fm_grid_column(double largest, ptrdiff_t n, double *coarse, double *fine);

/* dispatch.c */
/* The tables compiled in, best last; *count of them. */
const fm_isa *const *fm_isas(int *count);
/* Does this processor run the table? */
int fm_isa_supported(const fm_isa *isa);
/* Does it run the table's shortlists (1), and multiply bytes four times as fast as floats (2)? */
int fm_shortlists(const fm_isa *isa);
/* Is this processor Intel's?  For what pays only, which differs between makers. */
int fm_intel(void);

#endif
