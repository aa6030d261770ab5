/* SPDX-License-Identifier: BSD-3-Clause */
/* Which labels changed: labels[i] = now[i], and the rows whose label was another, in order, with
 * their new and old labels.  changed, added and removed hold count elements.  Returns how many.
 */
static ptrdiff_t changes(const int32_t *restrict now, const fm_block *block, int32_t *labels,
                         ptrdiff_t *restrict changed, int32_t *restrict added,
                         int32_t *restrict removed)
{
    const ptrdiff_t count = block->count;
    ptrdiff_t n = 0;
    for (ptrdiff_t start = 0; start < count; start += 16) {
        const ptrdiff_t stop = count - start < 16 ? count : start + 16;
        if (!block->rows && stop - start == 16) {
            /* Most rows keep their label: one comparison for 16 of them. */
            const int32_t *old = labels + block->start + start;
            int32_t different = 0;
            for (int i = 0; i < 16; i++)
                different |= now[start + i] ^ old[i];
            if (!different)
                continue;
        }
        for (ptrdiff_t i = start; i < stop; i++) {
            const ptrdiff_t row = index_of(block, i);
            changed[n] = row;
            added[n] = now[i];
            removed[n] = labels[row];
            n += now[i] != labels[row];
            labels[row] = now[i];
        }
    }
    return n;
}
