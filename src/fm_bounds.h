/* SPDX-License-Identifier: BSD-3-Clause */
/* What bounds of K-means keep of rows and centres, and the rows that they leave open.  The kernels on
 * them are in fm_exact_kernels and fm_found_kernels, but for those of codes of 8 bits.  Included by
 * fm_kernels.h.
 */
#ifndef FM_BOUNDS_H
#define FM_BOUNDS_H

/* Centres in a panel of a group: groups are multiples of it, as far as K allows. */
#define FM_GROUP_WIDTH 8
/* Above every score in whole numbers, and sums with two of them fit. */
#define FM_SCORE_NONE 0x40000000

/* Bounds of the distances of rows to centres (kernels/bounds.inc.h). */
typedef struct {
    int32_t *labels;          /* (n) */
    float *upper;             /* (n) */
    int16_t *codes;           /* (n, stride) */
    ptrdiff_t stride;         /* groups rounded up to 8 */
    float step;               /* a lower bound's code is in units of it */
    const int32_t *group_of;  /* (k) */
    const float *moved;       /* (k) how far a centre has moved since the bounds began */
    const float *group_reach; /* (groups) how far the farthest of a group has, */
    const int16_t
        *group_moved;      /* (stride) the same in codes, rounded up; beyond the groups least */
    float reach;           /* the greatest of these */
    float proof, root;     /* what a difference of squares must exceed; its square root */
    double c_square, unit; /* |x|^2 - 2 s is right within unit (|x|^2 + c_square) */
} fm_bounds;
/* An upper bound of a row of which nothing is known. */
#define FM_UPPER_NONE 0x1p120f

/* Rows of one call whose label is not proven. */
typedef struct {
    int32_t *rows; /* positions in the call, those of one label together */
    int32_t *label;
    double *score;       /* of that label */
    float *near, *least; /* bounds of its distance: at most, at least */
    void *squares;       /* |x|^2, reals */
    int32_t *lists;      /* (groups, room) positions in rows that a group of centres may win */
    ptrdiff_t *counts;
    ptrdiff_t room;
} fm_open;

/* What kernel row_scores found in one group for at most FM_BOUND_ROWS open rows: rows
 * list[0 .. count), or those from first on. */
#define FM_BOUND_ROWS 256
typedef struct {
    const int32_t *list;
    ptrdiff_t first;
    const int32_t *labels, *order; /* order[labels[i]] is a centre */
    const void *scores, *seconds;
} fm_found;

/* Leading coordinates of rows and centres in 16 bits (kernels/prefix.inc.h). */
typedef struct {
    int16_t *rows;                  /* (n, 2 pairs) */
    int32_t *half;                  /* (n) |q|^2 / 2 */
    ptrdiff_t pairs;                /* of coordinates */
    double step, error;             /* distances: one unit of q, and how far q may be off */
    double reach_square;            /* |x|^2 of the rows in range */
    const int32_t *panels, *biases; /* of the centres: [panel][pair][8] two int16, [panel][8] */
    const int32_t *column_of;       /* (k) where in the panels a centre is */
} fm_prefix;

/* Rows and groups of centres as codes of 8 bits, of which a centre may have two, for bounds
 * (kernels/row_codes.inc.h). */
typedef struct {
    float unit, constant, rest; /* of a code, s^2 |q|^2 + 2 s q . r, and how far the row is off */
    int32_t reference;
} fm_coded_row;
#define FM_MOST_REFERENCES 32
#define FM_REFERENCE_WIDTH(d) (((d) + 15) / 16 * 16)
/* Of a column of a panel that is no centre's. */
#define FM_FAR_APART 0x1p120f
typedef struct {
    uint8_t *codes;              /* (n, 8 pairs) codes + 128 */
    fm_coded_row *rows;          /* (n) */
    ptrdiff_t pairs;             /* (d + 7) / 8: of four columns each */
    const void *references;      /* (n_references, width) reals, zeros from d on */
    const int32_t *reference_of; /* (k) the one of rows of a label */
    ptrdiff_t n_references, width;
    const double *points;           /* [8 columns][n_references][8] the same */
    const float *reference_squares; /* (n_references) */
    ptrdiff_t parts;                /* codes of a number of a centre: 1, or 2 */
    int32_t *panels;                /* [panel][pair][part][8 centres][2] four codes each */
    int32_t *starts;                /* [panel][part][8][2] what products of codes start from */
    float *apart;                   /* [panel][n_references][8] |r - u z|^2 */
    float *group_unit, *group_square, *group_rest;
    const int32_t *column_of; /* (k) where in the panels a centre is */
} fm_row_codes;

typedef struct {
    /* Codes of count framed rows from `start` on, all of which have labels, and of a group's centres
     * c (size, d). */
    void (*code_rows)(const void *framed, ptrdiff_t count, ptrdiff_t d, const int32_t *labels,
                      const fm_row_codes *p, ptrdiff_t start);
    void (*code_group)(const double *c, ptrdiff_t size, ptrdiff_t d, const fm_row_codes *p,
                       ptrdiff_t group, ptrdiff_t panel);
    /* What they prove: as prefix_scan, of rows listed for a group; and of open rows first .. first +
     * count, whose labels are in the group, as bounds_own. */
    ptrdiff_t (*codes_scan)(const fm_bounds *b, const fm_row_codes *p, ptrdiff_t group,
                            ptrdiff_t panel, ptrdiff_t n_panels, ptrdiff_t start,
                            const fm_open *open, int32_t *list, ptrdiff_t count);
    void (*codes_own)(const fm_bounds *b, const fm_row_codes *p, ptrdiff_t group, ptrdiff_t panel,
                      ptrdiff_t n_panels, ptrdiff_t start, const fm_open *open, ptrdiff_t first,
                      ptrdiff_t count);
} fm_code_kernels;

#endif
