/* SPDX-License-Identifier: BSD-3-Clause */
/* Candidates of a row: its label, and other centres whose scores were the greatest when it last met
 * all of them.  How far its label was ahead of all that are none is kept as margins are
 * (margins.inc.h): until moves have used that up, a row whose margin is used up need only meet its
 * candidates; and movers, where its margin over these is used up as well.  What does not depend on
 * the dtype; codes and scores are those of margin_scan.inc.h.
 *
 * Which ones: a scan keeps the two greatest keys of each of FM_CANDIDATE_PARTS parts of the centres,
 * and candidates are the greatest of these.  A third centre of one part, where it is near, is then
 * the first that is none.
 */

/* Sizes of sixteen rows from their codes, zeros to the end of their vectors. */
FM_MARGIN_INLINE fm_short_floats candidate_sizes(const int16_t *restrict codes, ptrdiff_t stride,
                                                 const fm_margins *p)
{
    fm_short_counts sums[16];
    FM_MARGIN_UNROLL
    for (int r = 0; r < 16; r++) {
        sums[r] = (fm_short_counts){0};
        for (ptrdiff_t t = 0; t < stride; t += 32) {
            const fm_short_counts row = *(const fm_short_counts *)(codes + r * stride + t);
            sums[r] = fm_short_add_pairs(sums[r], row, row);
        }
    }
    return margin_length(__builtin_convertvector(fm_short_sums(sums), fm_short_floats), p);
}

/* The two greatest scores of sixteen rows among `places` centres, number [place][row], the first
 * one's label, and the score of the label before, or 0.  stride: of codes, FM_CANDIDATE_COLUMNS(d). */
FM_MARGIN_INLINE void candidate_scores(const int16_t *restrict codes, ptrdiff_t stride,
                                       const fm_margins *p, const int32_t *restrict number,
                                       ptrdiff_t places, fm_short_counts before,
                                       fm_short_floats *first, fm_short_floats *second,
                                       fm_short_counts *label, fm_short_counts *own,
                                       margin_upcoming *upcoming)
{
    fm_short_floats most = {0}, next = {0};
    fm_short_counts at = {0}, mine = {0};
    for (ptrdiff_t place = 0; place < places; place++, number += 16) {
        fm_short_counts sums[16];
        margin_fetch(upcoming);
        FM_MARGIN_UNROLL
        for (int r = 0; r < 16; r++) {
            const int16_t *row = codes + r * stride;
            const int16_t *center = p->codes + number[r] * stride;
            sums[r] =
                fm_short_pairs(*(const fm_short_counts *)row, *(const fm_short_counts *)center);
            for (ptrdiff_t t = 32; t < stride; t += 32)
                sums[r] = fm_short_add_pairs(sums[r], *(const fm_short_counts *)(row + t),
                                             *(const fm_short_counts *)(center + t));
        }
        const fm_short_counts who = *(const fm_short_counts *)number;
        const fm_short_counts score =
            fm_short_sums(sums) + (fm_short_counts)fm_short_take((const float *)p->starts, number);
        mine |= (who == before) & score;
        at = fm_short_replace((fm_short_floats)score, most, who, at);
        next = fm_short_max(next, fm_short_min(most, (fm_short_floats)score));
        most = fm_short_max(most, (fm_short_floats)score);
    }
    *first = most, *second = next, *label = at, *own = mine;
}

/* The greater of two vectors first, lane by lane. */
FM_INLINE void candidates_swap(fm_short_floats keys[16], int i, int j)
{
    const fm_short_floats low = fm_short_min(keys[i], keys[j]);
    keys[i] = fm_short_max(keys[i], keys[j]);
    keys[j] = low;
}

/* Orders vectors i and i + step lane by lane, the greater first, where they are in one of the runs
 * of 2 `sorted` vectors: a step of Batcher's odd-even merge of runs of `sorted`, a constant. */
FM_MARGIN_INLINE void candidates_order(fm_short_floats keys[16], int sorted, int step)
{
    const int first = step % sorted, run = 2 * sorted;
    FM_MARGIN_UNROLL
    for (int i = 0; i < 16 - step; i++) {
        const int starts = i % (2 * step) >= first && (i - first) % (2 * step) < step;
        if (starts && i / run == (i + step) / run)
            candidates_swap(keys, i, i + step);
    }
}

FM_MARGIN_INLINE void candidates_sort(fm_short_floats keys[16])
{
    candidates_order(keys, 1, 1);
    candidates_order(keys, 2, 2);
    candidates_order(keys, 2, 1);
    candidates_order(keys, 4, 4);
    candidates_order(keys, 4, 2);
    candidates_order(keys, 4, 1);
    candidates_order(keys, 8, 8);
    candidates_order(keys, 8, 4);
    candidates_order(keys, 8, 2);
    candidates_order(keys, 8, 1);
}

/* The same of all vectors `step` apart in runs of 2 `step`, a constant. */
FM_MARGIN_INLINE void candidates_halve(fm_short_floats keys[16], int step)
{
    FM_MARGIN_UNROLL
    for (int i = 0; i < 16; i++)
        if (i % (2 * step) < step)
            candidates_swap(keys, i, i + step);
}

/* The sixteen greatest of twice sixteen sorted vectors, the greatest first; returns the greatest of
 * the others. */
FM_MARGIN_INLINE fm_short_floats candidates_merge(fm_short_floats keys[16],
                                                  const fm_short_floats more[16])
{
    fm_short_floats beyond = {0};
    FM_MARGIN_UNROLL
    for (int i = 0; i < 16; i++) {
        beyond = fm_short_max(beyond, fm_short_min(keys[i], more[15 - i]));
        keys[i] = fm_short_max(keys[i], more[15 - i]);
    }
    candidates_halve(keys, 8);
    candidates_halve(keys, 4);
    candidates_halve(keys, 2);
    candidates_halve(keys, 1);
    return beyond;
}

/* Candidates of the `some` rows row[0], ... of sixteen, from the two greatest keys of the parts of
 * the centres and the greatest of the others in any part.  Returns the greatest key of all that are
 * none; first and second: the greatest of all. */
FM_MARGIN_INLINE fm_short_floats
candidates_find(const fm_margins *p, fm_short_floats (*restrict parts)[FM_CANDIDATE_PARTS],
                fm_short_floats others, const ptrdiff_t *row, ptrdiff_t some,
                fm_short_floats *first, fm_short_floats *second)
{
    int32_t number[FM_MOST_CANDIDATES][16];
    candidates_sort(parts[0]);
    candidates_sort(parts[1]);
    fm_short_floats beyond = fm_short_max(others, candidates_merge(parts[0], parts[1]));
    *first = parts[0][0], *second = parts[0][1];
    for (ptrdiff_t place = p->places; place < FM_MOST_CANDIDATES; place++)
        beyond = fm_short_max(beyond, parts[0][place]);
    for (ptrdiff_t place = 0; place < p->places; place++) {
        const fm_short_counts who = (fm_short_counts)parts[0][place] & p->numbers;
        const fm_short_counts none = who > (int32_t)p->k;
        *(fm_short_counts *)number[place] = (none & (int32_t)p->k) | (~none & who);
    }
    for (ptrdiff_t r = 0; r < some; r++) {
        uint16_t *to = p->candidates + row[r] * p->places;
        for (ptrdiff_t place = 0; place < p->places; place++)
            to[place] = (uint16_t)number[place][r];
    }
    return beyond;
}
