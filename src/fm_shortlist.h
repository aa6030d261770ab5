/* SPDX-License-Identifier: BSD-3-Clause */
/* Nearest centres by shortlists: the centres in few bits, and the kernels.  Included by
 * fm_kernels.h. */
#ifndef FM_SHORTLIST_H
#define FM_SHORTLIST_H

/* Centres as codes of 8 bits (kernels/shortlist.inc.h), in groups of FM_PANEL_WIDTH. */
typedef struct {
    ptrdiff_t k, d;
    double unit;
    /* Of all centres the largest |c| and |bias|, in units; how far a score of one is off at most, of
     * |score| for kernel assign and for floats, and where it underflows. */
    float norm, most_bias, rounding, float_rounding;
    double underflow;
    /* By place: codes [group][quad of columns][FM_PANEL_WIDTH] four bytes each, what a sum of
     * products with unsigned codes of a row starts from, and the bias in units of the group. */
    const int32_t *codes, *start, *label;
    const float *bias;
    /* By group: its unit in units of all, the inverse, and the largest |c| and |c - code|. */
    const float *ratio, *inverse_ratio, *group_norm, *group_error;
    /* By label: its place, and the centre (k, FM_SHORT_FLOATS(d)) and its bias as floats. */
    const int32_t *place;
    const float *float_bias, *floats;
} fm_shortlist;
#define FM_SHORT_FLOATS(d) (((d) + 15) / 16 * 16)

/* Where the kernel leaves what it learns for bounds that begin with these labels: no centre has moved
 * since, and the codes are zero. */
typedef struct {
    const fm_bounds *bounds;
    ptrdiff_t groups;        /* of the bounds */
    const int32_t *group_of; /* (places) of a centre; `groups` where there is none */
} fm_short_bounds;

typedef struct {
    /* Bytes of scratch for d columns, and bounds of so many groups; NULL, as all are, where a tile
     * has less than 16 rows. */
    ptrdiff_t (*scratch)(ptrdiff_t d, ptrdiff_t groups);
    /* Bytes of memory for k centres, which p->k centres c (k, d), with the biases of their panel,
     * are written into. */
    ptrdiff_t (*memory)(ptrdiff_t k, ptrdiff_t d);
    void (*pack_centers)(const double *c, const void *bias, fm_shortlist *p, void *memory);
    /* What kernel assign finds with these panel and bias.  hint (count): a label that may be near,
     * or less than 0; or NULL.  Returns how many centres were near to rows that had more than one,
     * and in *undecided how many rows have a label of -1: too many were.  to, where not NULL, gets
     * bounds of the other rows, the first of which is row number `row`; nothing is known then of
     * the group of a row's label. */
    ptrdiff_t (*assign)(const void *tiles, ptrdiff_t count, const fm_shortlist *p,
                        const void *panel, const void *bias, const int32_t *hint, int32_t *labels,
                        const fm_short_bounds *to, ptrdiff_t row, fm_memory memory, void *scratch,
                        ptrdiff_t *undecided);
} fm_shortlist_kernels;

#endif
