/* SPDX-License-Identifier: BSD-3-Clause */
/* What prefix.inc.h and row_codes.inc.h share: rows listed for one group of centres meet an estimate
 * of their least distance to it, which raises their bounds and takes them off the list.  Centres are
 * eight in the lanes, scores are whole numbers, and greater is nearer.
 */
#define FM_GROUP_ROWS 64

typedef int32_t fm_int8 __attribute__((vector_size(32), aligned(4), may_alias));

FM_INLINE fm_int8 greater_of(fm_int8 a, fm_int8 b)
{
    return (fm_int8)((a & (a > b)) | (b & ~(a > b)));
}

/* Lane r: the greatest lane of a[r]. */
FM_INLINE fm_int8 greatest_lanes(const fm_int8 a[8])
{
    fm_int8 two[4], four[2];
    for (int i = 0; i < 4; i++)
        two[i] = greater_of(fm_mix(fm_int8, a[2 * i], a[2 * i + 1], 0, 8, 2, 10, 4, 12, 6, 14),
                            fm_mix(fm_int8, a[2 * i], a[2 * i + 1], 1, 9, 3, 11, 5, 13, 7, 15));
    for (int i = 0; i < 2; i++)
        four[i] =
            greater_of(fm_mix(fm_int8, two[2 * i], two[2 * i + 1], 0, 1, 8, 9, 4, 5, 12, 13),
                       fm_mix(fm_int8, two[2 * i], two[2 * i + 1], 2, 3, 10, 11, 6, 7, 14, 15));
    return greater_of(fm_mix(fm_int8, four[0], four[1], 0, 1, 2, 3, 8, 9, 10, 11),
                      fm_mix(fm_int8, four[0], four[1], 4, 5, 6, 7, 12, 13, 14, 15));
}

/* The greatest scores of eight rows in a panel, whose first column is `column` of its group, or those
 * so far; where skip is not NULL without column skip[r], whose score is -none then. */
FM_INLINE fm_int8 greatest_scores(fm_int8 best, fm_int8 score[8], const int32_t *skip,
                                  ptrdiff_t column, int32_t none)
{
    if (skip) {
        const fm_int8 lane = (fm_int8){0, 1, 2, 3, 4, 5, 6, 7} + (int32_t)column;
        for (int r = 0; r < 8; r++) {
            const fm_int8 hidden = lane == skip[r];
            score[r] = (hidden & -none) | (~hidden & score[r]);
        }
    }
    return greater_of(best, greatest_lanes(score));
}

/* Rows of a list, at most FM_GROUP_ROWS, and how many there are. */
typedef struct {
    ptrdiff_t row[FM_GROUP_ROWS], count;
    float near[FM_GROUP_ROWS];   /* their distance to their label is at most that */
    int32_t skip[FM_GROUP_ROWS]; /* the label's column in the group's panels, or -1 */
    int32_t skips;               /* whether there is any but -1 */
} fm_group_rows;

FM_INLINE fm_group_rows group_rows_of(const fm_bounds *b, const fm_open *open, ptrdiff_t start,
                                      const int32_t *list, ptrdiff_t count, ptrdiff_t group,
                                      const int32_t *column_of, ptrdiff_t column)
{
    fm_group_rows rows;
    rows.count = count < FM_GROUP_ROWS ? count : FM_GROUP_ROWS;
    rows.skips = 0;
    for (ptrdiff_t r = 0; r < rows.count; r++) {
        const ptrdiff_t x = start + open->rows[list[r]];
        const int32_t label = b->labels[x];
        rows.row[r] = x;
        rows.near[r] = open->near[list[r]];
        rows.skip[r] = b->group_of[label] == group ? column_of[label] - (int32_t)column : -1;
        rows.skips |= ~rows.skip[r];
    }
    for (ptrdiff_t r = rows.count; r < (rows.count + 7) / 8 * 8; r++)
        rows.skip[r] = -1;
    return rows;
}

/* Raises the codes of rows, list[0 .. rows->count), for a group that is at least `low` away, or
 * farther; keeps those for which it may still hold a nearer centre, in order, and returns how
 * many. */
FM_INLINE ptrdiff_t raise_codes(const fm_bounds *b, ptrdiff_t group, const fm_group_rows *rows,
                                const float *low, const int32_t *list, int32_t *kept)
{
    const float inverse = 1 / b->step, slack = bound_slack(b);
    const float moved = b->group_reach[group];
    const int32_t shift = b->group_moved[group];
    int32_t proven[FM_GROUP_ROWS], needed[FM_GROUP_ROWS];
    ptrdiff_t found = 0;
    for (ptrdiff_t r = 0; r < rows->count; r++) {
        proven[r] = code_of(low[r] > 0 ? low[r] : 0, moved, inverse);
        const int32_t least = code_needed(b, rows->near[r] + slack, inverse);
        needed[r] = least < FM_CODE_HALF ? least + shift : FM_CODE_NONE;
    }
    for (ptrdiff_t r = 0; r < rows->count; r++) {
        int16_t *code = b->codes + rows->row[r] * b->stride + group;
        const int32_t known = proven[r] > *code ? proven[r] : *code;
        *code = (int16_t)known;
        kept[found] = list[r];
        found += known < needed[r];
    }
    return found;
}
