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
        const int rows = (int)(count - start < 16 ? count - start : 16);
        uint32_t different = 0;
        if (!block->rows && rows == 16)
            different = fm_differences(now + start, labels + block->start + start);
        else
            for (int i = 0; i < rows; i++)
                different |= (uint32_t)(now[start + i] != labels[index_of(block, start + i)]) << i;
        for (; different; different &= different - 1) {
            const ptrdiff_t i = start + __builtin_ctz(different), row = index_of(block, i);
            changed[n] = row;
            added[n] = now[i];
            removed[n++] = labels[row];
            labels[row] = now[i];
        }
    }
    return n;
}
