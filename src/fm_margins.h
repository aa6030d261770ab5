/* SPDX-License-Identifier: BSD-3-Clause */
/* Margins of K-means: by how much a row is nearer to its own centre, and the kernels.  Included by
 * fm_kernels.h. */
#ifndef FM_MARGINS_H
#define FM_MARGINS_H

/* Centres of a group of a panel; and groups of movers. */
#define FM_MARGIN_WIDTH 6
#define FM_MOVER_PLACES (3 * FM_MARGIN_WIDTH)

/* Of rows and centres (kernels/margins.inc.h). */
typedef struct {
    ptrdiff_t k, d;
    /* Rows (n): the distance to their centre, and their margins over the centres that are no movers
     * and over movers, or less, as if centres had not moved since.  NULL where none are kept. */
    float *nears, *margins, *mover_margins;
    /* Candidates of the rows, [row][places]: centres whose scores were the greatest when all were
     * known, k in free places; and what the margin was over all others but movers.  places is 0 where
     * there are none. */
    uint16_t *candidates;
    float *beyond;
    ptrdiff_t places;
    double unit; /* of their codes */
    /* Centres, k or, padded, so many that groups are whole: codes [group][pair of columns]
     * [FM_MARGIN_WIDTH], two of 16 bits each, padded; the same [centre][FM_CANDIDATE_COLUMNS(d)],
     * and zeros for number k; what a sum of products starts from, padded and one more; as they are
     * (k, d), and -bias; how far they have moved, and in the last E-step; whether they are movers. */
    int32_t *panels;
    int16_t *codes;
    int32_t *starts;
    double *centers, *depths, *moved, *steps;
    uint8_t *moving;
    /* The movers, at most most_movers; and whether they are others than before, and whether there
     * were any: then margins are to be merged. */
    int32_t movers[FM_MOVER_PLACES]; /* k in free places */
    int32_t *mover_panels, mover_starts[FM_MOVER_PLACES];
    ptrdiff_t n_movers, most_movers;
    int merges, had_movers;
    /* The sums of how far the farthest of each E-step have moved: of the others, and of movers. */
    double sums_moved[2];
    int started;
    int32_t numbers; /* the lowest bits, so many as all numbers of centres and k have */
    /* Of one E-step: a unit of codes' scores, their error for a unit of size and for any row, what
     * rounding may hide of a difference of squared distances, and by how much sizes are off. */
    float score_unit, size_error, error, hidden, size_gap;
    /* (padded and one more, zeros from k on) What moves so far take off the distance to the centre
     * of a label, and the margins of rows of that label.  Off all margins come the moves of the
     * others, and of movers; and as they were before this E-step. */
    float *own_moved;
    float all_moved[2], before[2];
} fm_margins;
/* Codes of rows and of centres are vectors no longer than this, but for their roundings, so that a
 * score has 31 bits. */
#define FM_MARGIN_LENGTH 23100.0

/* Positions of rows in a block. */
typedef struct {
    int32_t *only, *few, *list;
    ptrdiff_t n_only, n_few, n_list;
} fm_open_rows;

typedef struct {
    /* The centres c (k, d) of an E-step, with the biases of their panel. */
    void (*move)(const double *c, const void *bias, fm_margins *p);
    /* Rows start .. start + count whose labels are not proven, as positions from 0: those that need
     * meet movers only, those whose label is a candidate, and others.  The lists have room for 16
     * more. */
    void (*open)(const fm_margins *p, const int32_t *labels, ptrdiff_t start, ptrdiff_t count,
                 fm_open_rows *open);
    /* Labels of the block's listed rows, in place of those so far, from their candidates, or from
     * movers; returns how many these do not prove, and which of the block's.  again (candidates
     * only): the n_again rows of which movers have to be met.  Else as scan. */
    ptrdiff_t (*choose)(const fm_margins *p, const fm_matrix *x, const fm_block *block,
                        const void *offset, double scale, int32_t *labels, int32_t *left,
                        int32_t *again, ptrdiff_t *n_again, void *scratch);
    ptrdiff_t (*meet)(const fm_margins *p, const fm_matrix *x, const fm_block *block,
                      const void *offset, double scale, int32_t *labels, int32_t *left,
                      void *scratch);
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
#define FM_MARGIN_SCRATCH(d)                                                                       \
    (2 * 64 * (FM_MARGIN_COLUMNS(d) + FM_CANDIDATE_COLUMNS(d)) + 128 + 8 * (d))

#endif
