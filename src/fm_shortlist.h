/* SPDX-License-Identifier: BSD-3-Clause */
/* Nearest centres by shortlists: the centres in few bits, and the kernels.  Included by
 * fm_kernels.h. */
#ifndef FM_SHORTLIST_H
#define FM_SHORTLIST_H

/* Centres as codes of 8 bits (kernels/shortlist.inc.h), sixteen places in a vector. */
typedef struct {
    ptrdiff_t k, d;
    ptrdiff_t vectors; /* of places; those without a centre come after the others, or among them */
    ptrdiff_t pivots;
    double unit; /* of rows and centres in floats */
    /* Of all centres the largest |c| and |bias|, in units; how far a score of one is off at most, of
     * |score| for kernel assign and for floats, and where it underflows. */
    float norm, most_bias, rounding, float_rounding, underflow;
    /* By place: codes [FM_SHORT_VECTORS vectors, or what is left][quad of columns][place] four
     * bytes each, what a sum of products with unsigned codes of a row starts from, the label (-1:
     * none), and the centre (FM_SHORT_FLOATS(d)) in units. */
    const int32_t *codes, *start, *label;
    const float *floats;
    /* By vector: its unit in units of all, and the largest |c| and |c - code|. */
    const float *ratio, *vector_norm, *vector_error;
    /* Pivots p as reals (pivots, d), |p| in units, and p . c + bias [pivot][place], -2^100 where
     * there is no centre; the nearest of label j's centre, and first of no label: [j + 1]. */
    const void *pivot;
    const float *pivot_norm, *pivot_scores;
    const int32_t *pivot_of;
} fm_shortlist;
#define FM_SHORT_VECTORS 4
#define FM_SHORT_FLOATS(d) (((d) + 15) / 16 * 16)

/* Where the kernel leaves what it learns for bounds that begin with these labels: no centre has moved
 * since, and the codes are zero. */
typedef struct {
    const fm_bounds *bounds;
    ptrdiff_t groups;       /* of the bounds, of which each has places first[g] .. first[g + 1], */
    const ptrdiff_t *first; /* multiples of 8 */
} fm_short_bounds;

typedef struct {
    /* Bytes of scratch for such centres, and bounds of so many groups; NULL, as all are, where
     * there are no such kernels. */
    ptrdiff_t (*scratch)(const fm_shortlist *p, ptrdiff_t groups);
    /* Bytes of memory for p->k centres and their codes. */
    ptrdiff_t (*memory)(const fm_shortlist *p);
    /* Fills in p and its memory from p->k centres c (k, d), the biases of their panel, labels by
     * place, or NULL for any order, and pivots (p->pivots, d): the first is zero. */
    void (*pack_centers)(const double *c, const void *bias, const int32_t *order,
                         const double *pivots, fm_shortlist *p, void *memory);
    /* What kernel assign finds for framed rows (count, d) with squares |x|^2, reals both, with these
     * panel and bias.  hint (count): a label that may be near, or less than 0; or NULL.  Returns
     * how many centres were near to rows that had more than one, and in *undecided how many rows
     * have a label of -1: too many were.  to, where not NULL, gets bounds of the other rows, the
     * first of which is row number `row`; nothing is known then of the group of a row's label. */
    ptrdiff_t (*assign)(const void *rows, const void *squares, ptrdiff_t count,
                        const fm_shortlist *p, const void *panel, const void *bias,
                        const int32_t *hint, int32_t *labels, const fm_short_bounds *to,
                        ptrdiff_t row, void *scratch, ptrdiff_t *undecided);
} fm_shortlist_kernels;

#endif
