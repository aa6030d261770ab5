# SPDX-License-Identifier: BSD-3-Clause
"""C declarations of src/fm_kernels.h, and the kernel tables by name."""

cimport numpy as cnp
from libc.stdint cimport int8_t, int16_t, int32_t, uint8_t, uint16_t


cdef extern from "fm_kernels.h" nogil:
    cdef enum fm_type:
        FM_F64, FM_F32, FM_F16, FM_LONG_DOUBLE
        FM_I8, FM_U8, FM_I16, FM_U16, FM_I32, FM_U32, FM_I64, FM_U64

    ctypedef struct fm_matrix:
        const char *data
        Py_ssize_t n, d, row_stride, col_stride
        int type, swapped

    ctypedef struct fm_csr:
        const char *elements
        const void *columns
        const void *starts
        Py_ssize_t n, d, element_size, index_size
        int type, swapped

    ctypedef struct fm_block:
        const Py_ssize_t *rows
        Py_ssize_t start, count

    ctypedef struct fm_memory:
        const char *start
        Py_ssize_t bytes

    ctypedef struct fm_grid:
        Py_ssize_t d, stride
        double scale
        const double *offset
        const double *coarse
        const double *fine

    ctypedef struct fm_tile_kernels:
        Py_ssize_t itemsize, tile_rows, panel_width, distance_width, nearest_width
        Py_ssize_t (*assign_scratch)(Py_ssize_t count, Py_ssize_t d) noexcept nogil
        void (*pack)(const fm_matrix *x, const fm_block *block, const void *offset,
                     double scale, void *tiles, fm_memory next, void *scratch) noexcept nogil
        void (*pack_centers)(const double *c, Py_ssize_t k, Py_ssize_t d, Py_ssize_t width,
                             void *panel, void *bias) noexcept nogil
        void (*pack_center)(const double *c, Py_ssize_t j, Py_ssize_t d, Py_ssize_t width,
                            void *panel, void *bias) noexcept nogil
        int32_t (*nearest)(const void *row, Py_ssize_t d, const void *panel, const void *bias,
                           Py_ssize_t k) noexcept nogil
        void (*assign)(const void *tiles, Py_ssize_t count, Py_ssize_t d, const void *panel,
                       const void *bias, Py_ssize_t k, int32_t *labels, int32_t *second,
                       fm_memory next, void *scratch) noexcept nogil
        void (*assign_leads)(const void *tiles, Py_ssize_t count, Py_ssize_t d, const void *panel,
                             const void *bias, Py_ssize_t k, int32_t *labels, float *leads,
                             void *scratch) noexcept nogil
        void (*gather)(const fm_matrix *x, const fm_block *block, const void *offset,
                       double scale, const int32_t *places, void *rows, void *squares,
                       void *scratch) noexcept nogil
        void (*row_scores)(const void *rows, const int32_t *list, Py_ssize_t count, Py_ssize_t d,
                           const void *panel, const void *bias, Py_ssize_t k, int32_t *labels,
                           void *scores, void *seconds) noexcept nogil
        void (*project)(const void *rows, Py_ssize_t count, Py_ssize_t d, const void *panel,
                        const void *bias, Py_ssize_t m, void *out) noexcept nogil
        void (*distances)(const void *tiles, Py_ssize_t count, Py_ssize_t d, const void *panel,
                          Py_ssize_t k, void *out, Py_ssize_t stride) noexcept nogil
        int (*extremes)(const void *tiles, Py_ssize_t count, Py_ssize_t d, void *low,
                        void *high) noexcept nogil
        Py_ssize_t (*multiply_add_flops)(Py_ssize_t repeats, double *out) noexcept nogil

    ctypedef struct fm_bounds:
        int32_t *labels
        float *upper
        int16_t *codes
        Py_ssize_t stride
        float step
        const int32_t *group_of
        const float *moved
        const float *group_reach
        const int16_t *group_moved
        float reach, proof, root
        double c_square, unit

    ctypedef struct fm_open:
        int32_t *rows
        int32_t *label
        double *score
        float *near
        float *least
        void *squares
        int32_t *lists
        Py_ssize_t *counts
        Py_ssize_t room

    ctypedef struct fm_found:
        const int32_t *list
        Py_ssize_t first
        const int32_t *labels
        const int32_t *order
        const void *scores
        const void *seconds

    enum:
        FM_PROJECTED_ROWS

    const Py_ssize_t FM_BOUND_ROWS, FM_GROUP_WIDTH
    const int32_t FM_SCORE_NONE

    const float FM_UPPER_NONE

    ctypedef struct fm_prefix:
        int16_t *rows
        int32_t *half
        Py_ssize_t pairs
        double step, error, reach_square
        const int32_t *panels
        const int32_t *biases
        const int32_t *column_of

    ctypedef struct fm_screen:
        const int16_t *q
        const float *step
        const float *bias
        const float *slack
        Py_ssize_t padded
        double unit

    const Py_ssize_t FM_SCREEN_WIDTH

    ctypedef struct fm_means:
        Py_ssize_t d
        double scale
        const double *offset
        double *sums
        double *weights
        double *means
        double *centers

    ctypedef struct fm_found_kernels:
        void (*bounds_own)(const fm_bounds *b, const fm_found *f, Py_ssize_t own,
                           Py_ssize_t start, Py_ssize_t count, fm_open *open) noexcept nogil
        void (*bounds_other)(const fm_bounds *b, const fm_found *f, Py_ssize_t group,
                             Py_ssize_t start, Py_ssize_t count, fm_open *open) noexcept nogil
        double (*potential)(const void *distance, const void *closest, const double *w,
                            Py_ssize_t count, void *keep) noexcept nogil
        double (*gain)(const void *distance, const void *closest, const double *w,
                       Py_ssize_t count, double *left) noexcept nogil
        Py_ssize_t (*gains_listed)(const void *distances, Py_ssize_t stride, Py_ssize_t k,
                                   const Py_ssize_t *rows, Py_ssize_t start, Py_ssize_t count,
                                   const void *closest, const double *w, double *out,
                                   int32_t *note, void *noted, Py_ssize_t room) noexcept nogil
        void (*accept)(const int32_t *note, const void *noted, Py_ssize_t found,
                       int32_t candidate, void *closest) noexcept nogil
        void (*sketch)(const void *tiles, Py_ssize_t tile_rows, Py_ssize_t count, Py_ssize_t d,
                       const double *steps, const double *inverse, double error, double unit,
                       int8_t *to, float *half) noexcept nogil
        Py_ssize_t (*sketch_near)(const int8_t *bytes, const float *half, Py_ssize_t d,
                                  const void *closest, double factor, const fm_matrix *x,
                                  Py_ssize_t start, Py_ssize_t count, const int32_t *panel,
                                  Py_ssize_t k, const float *unit, const float *bias,
                                  Py_ssize_t *list) noexcept nogil

    ctypedef struct fm_exact_kernels:
        Py_ssize_t (*bounds_open)(const fm_bounds *b, Py_ssize_t start, Py_ssize_t count,
                                  int32_t *list) noexcept nogil
        Py_ssize_t (*bounds_left)(const fm_bounds *b, Py_ssize_t start, Py_ssize_t count,
                                  int32_t *list) noexcept nogil
        void (*bounds_wanted)(const fm_bounds *b, fm_open *open, Py_ssize_t own, Py_ssize_t start,
                              Py_ssize_t first, Py_ssize_t count) noexcept nogil
        Py_ssize_t (*bounds_close)(const fm_bounds *b, const fm_open *open, Py_ssize_t start,
                                   Py_ssize_t count, Py_ssize_t *changed, int32_t *added,
                                   int32_t *removed) noexcept nogil
        void (*bounds_renew)(const fm_bounds *b, Py_ssize_t start,
                             Py_ssize_t count) noexcept nogil
        void (*prefix_quantise)(const double *y, const double *squares, Py_ssize_t count,
                                Py_ssize_t m, const fm_prefix *p, int16_t *rows,
                                int32_t *half) noexcept nogil
        Py_ssize_t (*prefix_scan)(const fm_bounds *b, const fm_prefix *p, Py_ssize_t group,
                                  Py_ssize_t panel, Py_ssize_t n_panels, Py_ssize_t start,
                                  const fm_open *open, int32_t *list,
                                  Py_ssize_t count) noexcept nogil
        void (*bounds_few)(const fm_bounds *b, fm_open *open, Py_ssize_t start,
                           Py_ssize_t count, Py_ssize_t few) noexcept nogil
        Py_ssize_t (*changes)(const int32_t *now, const fm_block *block, int32_t *labels,
                              Py_ssize_t *changed, int32_t *added,
                              int32_t *removed) noexcept nogil
        void (*accumulate)(const fm_matrix *x, const fm_block *block, const double *w,
                           const fm_grid *grid, const int32_t *added, const int32_t *removed,
                           double *sums, double *scratch) noexcept nogil
        void (*residuals)(const fm_matrix *x, const fm_block *block, const fm_grid *grid,
                          const double *c, const int32_t *labels, double *out,
                          double *scratch) noexcept nogil
        void (*add_exact)(const double *v, const double *w, Py_ssize_t count, double coarse,
                          double fine, double *total) noexcept nogil
        void (*update_centers)(const double *sums, Py_ssize_t k, Py_ssize_t d,
                               Py_ssize_t stride, const double *old, double *centers,
                               double *weights, double *report) noexcept nogil
        void (*means_add)(const fm_means *m, const fm_matrix *x, const Py_ssize_t *rows,
                          Py_ssize_t count, const double *w, Py_ssize_t j,
                          double *scratch) noexcept nogil
        void (*means_place)(const fm_means *m, const fm_matrix *x, Py_ssize_t row,
                            Py_ssize_t j) noexcept nogil
        void (*means_add_entries)(const fm_means *m, const Py_ssize_t *column, const double *y,
                                  Py_ssize_t count, double w, Py_ssize_t j) noexcept nogil
        void (*means_update)(const fm_means *m, Py_ssize_t j) noexcept nogil
        void (*means_restore)(const fm_means *m, Py_ssize_t j) noexcept nogil
        double (*means_learn)(const fm_means *m, const fm_matrix *x, Py_ssize_t row, double w,
                              double step, Py_ssize_t j, double *scratch) noexcept nogil
        void (*sparse_unpack)(const fm_csr *x, Py_ssize_t row, double scale, Py_ssize_t *column,
                              double *y, Py_ssize_t *count) noexcept nogil
        void (*sparse_scores)(const Py_ssize_t *column, const double *y, Py_ssize_t count,
                              const double *ct, const double *bias, Py_ssize_t padded,
                              double *score) noexcept nogil
        double (*sparse_score)(const Py_ssize_t *column, const double *y, Py_ssize_t count,
                               const double *c, double bias) noexcept nogil
        double (*sparse_square)(const double *y, Py_ssize_t count) noexcept nogil
        double (*sparse_residual)(const Py_ssize_t *column, const double *y, Py_ssize_t count,
                                  const double *c, double norm) noexcept nogil
        void (*sparse_residuals)(const Py_ssize_t *column, const double *y, Py_ssize_t count,
                                 const double *panel, const double *norms,
                                 double *out) noexcept nogil
        void (*sparse_accumulate)(const Py_ssize_t *column, const double *y, Py_ssize_t count,
                                  double w, const fm_grid *grid, double sign,
                                  double *sums) noexcept nogil
        void (*screen_centers)(const double *c, Py_ssize_t k, Py_ssize_t d,
                               const double *inverse, Py_ssize_t first, Py_ssize_t last,
                               Py_ssize_t padded, int16_t *q) noexcept nogil
        Py_ssize_t (*screen)(const fm_screen *s, const Py_ssize_t *column, const double *y,
                             Py_ssize_t count, float *least, float *scores,
                             int32_t *found) noexcept nogil
        float (*screen_rest)(const fm_screen *s, float *scores, int32_t but) noexcept nogil

    ctypedef struct fm_mixture_bounds:
        uint8_t *codes
        int32_t *best
        float *upper
        Py_ssize_t k
        const float *low_scale
        const float *low_shift
        const float *code_scale
        const float *code_shift
        const float *up_scale
        const float *up_shift
        const float *upper_scale
        const float *upper_shift
        const float *twice
        const float *renew_scale
        const float *renew_shift
        const float *renew_up_scale
        const float *renew_up_shift
        const uint8_t *renewed

    ctypedef struct fm_open_pairs:
        int32_t *rows
        void *shares
        Py_ssize_t *found
        Py_ssize_t stride
        Py_ssize_t computed

    ctypedef struct fm_mixture_kernels:
        Py_ssize_t diagonal_width
        void (*pack_factor)(const double *factor, const double *mean, Py_ssize_t d,
                            void *panel) noexcept nogil
        void (*mahalanobis)(const void *tiles, Py_ssize_t count, Py_ssize_t d, const void *panel,
                            void *out, void *scratch) noexcept nogil
        void (*whiten)(const void *tiles, Py_ssize_t count, Py_ssize_t d, const void *panel,
                       void *out) noexcept nogil
        void (*pack_diagonal)(const double *mean, const double *scale, Py_ssize_t k, Py_ssize_t d,
                              int spherical, void *panel) noexcept nogil
        void (*diagonal)(const void *tiles, Py_ssize_t count, Py_ssize_t d, const void *panel,
                         Py_ssize_t k, void *out, Py_ssize_t stride,
                         fm_memory next) noexcept nogil
        void (*spherical)(const void *tiles, Py_ssize_t count, Py_ssize_t d, const void *panel,
                          Py_ssize_t k, void *out, Py_ssize_t stride,
                          fm_memory next) noexcept nogil
        double (*pack_constants)(const double *constants, Py_ssize_t k,
                                 void *packed) noexcept nogil
        Py_ssize_t (*softmax)(void *terms, Py_ssize_t count, Py_ssize_t k, Py_ssize_t stride,
                              const void *constants, double greatest, Py_ssize_t expected,
                              double *log_prob, double *entropy) noexcept nogil
        Py_ssize_t (*bounds_expect)(const fm_mixture_bounds *b, Py_ssize_t start, Py_ssize_t count,
                                    const void *rows, Py_ssize_t row_stride, Py_ssize_t d,
                                    const char *panels, Py_ssize_t panel_bytes,
                                    const void *constants, double greatest, fm_open_pairs *pairs,
                                    double *log_prob, fm_memory next,
                                    void *scratch) noexcept nogil
        void (*bounds_take)(const fm_mixture_bounds *b, Py_ssize_t start, Py_ssize_t count,
                            Py_ssize_t at, Py_ssize_t rows, const void *terms, Py_ssize_t stride,
                            void *scratch) noexcept nogil
        Py_ssize_t (*select_rows)(const void *r, const double *w, Py_ssize_t count, int32_t *list,
                                  double *out) noexcept nogil
        Py_ssize_t (*weigh_pairs)(const void *shares, const int32_t *rows, Py_ssize_t count,
                                  const double *w, int32_t *list, double *out) noexcept nogil
        void (*widen)(const void *r, const double *w, Py_ssize_t count, double *out) noexcept nogil
        void (*exp_all)(void *x, Py_ssize_t count) noexcept nogil

    ctypedef struct fm_moment_kernels:
        void (*frame_rows)(const fm_matrix *x, const fm_block *block, const double *offset,
                           double scale, double *y) noexcept nogil
        void (*frame_columns)(const fm_matrix *x, const fm_block *block, const double *offset,
                              double scale, double *y, Py_ssize_t stride) noexcept nogil
        void (*square_rows)(const double *y, Py_ssize_t d, Py_ssize_t count,
                            double *out) noexcept nogil
        void (*full)(const double *y, Py_ssize_t d, const int32_t *list, const double *r,
                     Py_ssize_t count, double *weight, double *first, double *second,
                     double *scratch) noexcept nogil
        void (*diagonal)(const double *y, Py_ssize_t d, const int32_t *list, const double *r,
                         Py_ssize_t count, double *first, double *second) noexcept nogil
        void (*diagonal_every)(const double *y, Py_ssize_t d, const double *r, Py_ssize_t r_stride,
                               Py_ssize_t k, Py_ssize_t count, double *lanes, double *first,
                               double *second) noexcept nogil
        void (*spherical)(const double *y, Py_ssize_t d, const int32_t *list, const double *r,
                          Py_ssize_t count, const double *squares, double *weight, double *first,
                          double *second) noexcept nogil
        void (*few)(const double *y, Py_ssize_t stride, Py_ssize_t d, const double *r,
                    Py_ssize_t count, double *lanes) noexcept nogil
        void (*fold_few)(const double *lanes, Py_ssize_t d, double *weight, double *first,
                         double *second) noexcept nogil
        void (*add_lanes)(const double *v, const double *w, Py_ssize_t count,
                          double *lanes) noexcept nogil
        double (*fold_lanes)(const double *lanes) noexcept nogil

    ctypedef struct fm_gaussian_kernels:
        Py_ssize_t (*factor)(const double *covariance, Py_ssize_t d, double *p, double *log_det,
                             double *scratch) noexcept nogil
        void (*triangular_product)(const double *p, const double *x, Py_ssize_t d,
                                   double *out) noexcept nogil
        void (*log_all)(const double *x, Py_ssize_t count, double *out) noexcept nogil

    ctypedef struct fm_shortlist:
        Py_ssize_t k
        Py_ssize_t d
        Py_ssize_t vectors
        Py_ssize_t pivots

    ctypedef struct fm_short_bounds:
        const fm_bounds *bounds
        Py_ssize_t groups
        const Py_ssize_t *first

    ctypedef struct fm_coded_row:
        float unit, constant, rest
        int32_t reference

    const Py_ssize_t FM_MOST_REFERENCES
    Py_ssize_t FM_REFERENCE_WIDTH(Py_ssize_t d)
    const float FM_FAR_APART

    ctypedef struct fm_row_codes:
        uint8_t *codes
        fm_coded_row *rows
        Py_ssize_t pairs
        const void *references
        const int32_t *reference_of
        Py_ssize_t n_references, width, parts
        const double *points
        const float *reference_squares
        int32_t *panels
        int32_t *starts
        float *apart
        float *group_unit
        float *group_square
        float *group_rest
        const int32_t *column_of

    ctypedef struct fm_shortlist_kernels:
        Py_ssize_t (*scratch)(const fm_shortlist *p, Py_ssize_t groups) noexcept nogil
        Py_ssize_t (*memory)(const fm_shortlist *p) noexcept nogil
        void (*pack_centers)(const double *c, const void *bias, const int32_t *order,
                             const double *pivots, fm_shortlist *p, void *memory) noexcept nogil
        Py_ssize_t (*assign)(const void *rows, const void *squares, Py_ssize_t count,
                             const fm_shortlist *p, const void *panel, const void *bias,
                             const int32_t *hint, int32_t *labels, const fm_short_bounds *to,
                             Py_ssize_t row, void *scratch,
                             Py_ssize_t *undecided) noexcept nogil

    ctypedef struct fm_code_kernels:
        void (*code_rows)(const void *framed, Py_ssize_t count, Py_ssize_t d,
                          const int32_t *labels, const fm_row_codes *p,
                          Py_ssize_t start) noexcept nogil
        void (*code_group)(const double *c, Py_ssize_t size, Py_ssize_t d, const fm_row_codes *p,
                           Py_ssize_t group, Py_ssize_t panel) noexcept nogil
        Py_ssize_t (*codes_scan)(const fm_bounds *b, const fm_row_codes *p, Py_ssize_t group,
                                 Py_ssize_t panel, Py_ssize_t n_panels, Py_ssize_t start,
                                 const fm_open *open, int32_t *list,
                                 Py_ssize_t count) noexcept nogil
        void (*codes_own)(const fm_bounds *b, const fm_row_codes *p, Py_ssize_t group,
                          Py_ssize_t panel, Py_ssize_t n_panels, Py_ssize_t start,
                          const fm_open *open, Py_ssize_t first,
                          Py_ssize_t count) noexcept nogil

    ctypedef struct fm_margins:
        Py_ssize_t k, d
        float *nears
        float *margins
        float *mover_margins
        uint16_t *candidates
        float *beyond
        Py_ssize_t places
        double unit
        int32_t *panels
        int16_t *codes
        int32_t *starts
        double *centers
        double *depths
        double *moved
        double *steps
        uint8_t *moving
        int32_t *mover_panels
        Py_ssize_t n_movers
        Py_ssize_t most_movers
        float *own_moved
        float[2] all_moved
        int32_t numbers

    ctypedef struct fm_open_rows:
        int32_t *only
        int32_t *few
        int32_t *list
        Py_ssize_t n_only, n_few, n_list

    const Py_ssize_t FM_MARGIN_WIDTH
    const double FM_MARGIN_LENGTH
    const Py_ssize_t FM_MOST_CANDIDATES
    const Py_ssize_t FM_MOVER_PLACES
    Py_ssize_t FM_CANDIDATE_COLUMNS(Py_ssize_t d)
    Py_ssize_t FM_MARGIN_SCRATCH(Py_ssize_t d)

    ctypedef struct fm_margin_kernels:
        void (*move)(const double *c, const void *bias, fm_margins *p) noexcept nogil
        void (*open)(const fm_margins *p, const int32_t *labels, Py_ssize_t start,
                     Py_ssize_t count, fm_open_rows *open) noexcept nogil
        Py_ssize_t (*choose)(const fm_margins *p, const fm_matrix *x, const fm_block *block,
                             const void *offset, double scale, int32_t *labels, int32_t *left,
                             int32_t *again, Py_ssize_t *n_again, void *scratch) noexcept nogil
        Py_ssize_t (*meet)(const fm_margins *p, const fm_matrix *x, const fm_block *block,
                           const void *offset, double scale, int32_t *labels, int32_t *left,
                           void *scratch) noexcept nogil
        Py_ssize_t (*scan)(const fm_margins *p, const fm_matrix *x, const fm_block *block,
                           const void *offset, double scale, int32_t *labels, int32_t *left,
                           void *scratch) noexcept nogil
        void (*settle)(const fm_margins *p, const Py_ssize_t *rows, Py_ssize_t count,
                       const int32_t *labels, const float *leads) noexcept nogil

    ctypedef struct fm_isa:
        const char *name
        const fm_tile_kernels *f32
        const fm_tile_kernels *f64
        fm_found_kernels found_f32, found_f64
        fm_exact_kernels exact
        const fm_mixture_kernels *mixture_f32
        const fm_mixture_kernels *mixture_f64
        const fm_moment_kernels *moments
        fm_gaussian_kernels gaussian
        const fm_shortlist_kernels *shortlist_f32
        const fm_shortlist_kernels *shortlist_f64
        const fm_code_kernels *codes_f32
        const fm_code_kernels *codes_f64
        const fm_margin_kernels *margins_f32
        const fm_margin_kernels *margins_f64

    Py_ssize_t FM_MOMENT_STRIDE(Py_ssize_t d)
    Py_ssize_t FM_SECOND_SIZE(Py_ssize_t d)
    Py_ssize_t FM_SECOND_ROW(Py_ssize_t i)
    Py_ssize_t FM_FEW_SIZE(Py_ssize_t d)
    const Py_ssize_t FM_MOMENT_SCRATCH
    Py_ssize_t FM_BOUND_SCRATCH(Py_ssize_t rows, Py_ssize_t d)

    Py_ssize_t FM_SUM_STRIDE(Py_ssize_t d)
    const Py_ssize_t FM_SUM_ROWS
    void fm_grid_units(const double *largest, double largest_weight, Py_ssize_t n,
                       Py_ssize_t d, double *coarse, double *fine)
    void fm_grid_column(double largest, Py_ssize_t n, double *coarse, double *fine)
    const fm_isa *const *fm_isas(int *count)
    int fm_isa_supported(const fm_isa *isa)
    int fm_shortlists(const fm_isa *isa)
    int fm_intel()


cdef const fm_isa *find_isa(name) except NULL
cdef int shortlists_of(const fm_isa *isa) noexcept


cdef inline void *address(cnp.ndarray array) noexcept:
    """First byte of an array, without the microsecond that array.ctypes takes."""
    return cnp.PyArray_DATA(array)
