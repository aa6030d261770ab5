/* SPDX-License-Identifier: BSD-3-Clause */
/* Score margins of K-means: by how much the label of a row leads, and the kernels.  Included by
 * fm_kernels.h. */
#ifndef FM_MARGINS_H
#define FM_MARGINS_H

/* Of rows and centres (kernels/margins.inc.h). */
typedef struct {
    ptrdiff_t k, d;
    /* Rows (n): the distance to their centre, and their margin, or less, as if centres had not moved
     * since.  NULL where none are kept. */
    float *nears, *margins;
    /* Candidates of the rows, [row][places]: centres whose scores were the greatest when all were
     * known, k in free places; and what the margin was over all others.  places is 0 where there are
     * none. */
    uint16_t *candidates;
    float *beyond;
    ptrdiff_t places;
    double unit; /* of their codes */
    /* Centres: codes [group][pair of columns][FM_MARGIN_WIDTH] two of 16 bits each; the same
     * [centre][FM_CANDIDATE_COLUMNS(d)], zeros for number k; what a sum of products starts from; as
     * they are, and -bias; how far they have moved. */
    int32_t *panels;
    int16_t *codes;
    int32_t *starts;
    double *centers, *depths, *moved;
    double most_moved; /* the sum of how far the farthest of each E-step have */
    int started;
    int32_t numbers; /* the lowest bits, so many as all numbers of centres and k have */
    /* Of one E-step: a unit of codes' scores, their error for a unit of size and for any row, what
     * rounding may hide of a difference of squared distances, and by how much sizes are off. */
    float score_unit, size_error, error, hidden, size_gap;
    /* (k) What moves so far take off the distance to the centre of a label, and off its margin. */
    float *own_moved, *needed;
} fm_margins;
#define FM_MARGIN_WIDTH 6
/* Codes of rows and of centres are vectors no longer than this, but for their roundings, so that a
 * score has 31 bits. */
#define FM_MARGIN_LENGTH 23100.0

typedef struct {
    /* The centres c (k, d) of an E-step, with the biases of their panel. */
    void (*move)(const double *c, const void *bias, fm_margins *p);
    /* Rows start .. start + count whose labels are not proven, as positions from 0, but for those
     * whose label is a candidate: these, n_few, are in few.  Both lists have room for 16 more. */
    ptrdiff_t (*open)(const fm_margins *p, const int32_t *labels, ptrdiff_t start, ptrdiff_t count,
                      int32_t *list, int32_t *few, ptrdiff_t *n_few);
    /* Labels of the block's listed rows, of which before (n) holds those so far, from their
     * candidates; returns how many these do not prove, and which of the block's.  Else as scan. */
    ptrdiff_t (*choose)(const fm_margins *p, const fm_matrix *x, const fm_block *block,
                        const void *offset, double scale, const int32_t *before, int32_t *labels,
                        int32_t *left, void *scratch);
    /* Labels of the block's rows, and their margins; returns how many are not proven, and which of
     * the block's; and candidates, where there are places.  offset and scale as of kernel pack.
     * scratch: FM_MARGIN_SCRATCH(d) bytes, aligned to 64. */
    ptrdiff_t (*scan)(const fm_margins *p, const fm_matrix *x, const fm_block *block,
                      const void *offset, double scale, int32_t *labels, int32_t *left,
                      void *scratch);
    /* Margins of rows that scan left, from what kernel assign_leads found. */
    void (*settle)(const fm_margins *p, const ptrdiff_t *rows, ptrdiff_t count,
                   const int32_t *labels, const float *leads);
} fm_margin_kernels;
#define FM_MARGIN_COLUMNS(d) (((d) + 7) / 8 * 8)
#define FM_CANDIDATE_COLUMNS(d) (((d) + 31) / 32 * 32)
#define FM_MOST_CANDIDATES 16
/* Parts of the centres, of which the greatest scores are kept for a while. */
#define FM_CANDIDATE_PARTS 16
/* Codes of 64 rows twice, 64 more, and a row. */
#define FM_MARGIN_SCRATCH(d) (4 * 64 * FM_MARGIN_COLUMNS(d) + 128 + 8 * (d))

#endif
