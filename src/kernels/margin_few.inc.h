/* SPDX-License-Identifier: BSD-3-Clause */
/* Rows that meet a few centres only, by the scores of margin_scan.inc.h: their candidates
 * (candidates.inc.h), or the movers (margins.inc.h). */
static ptrdiff_t FM_NAME(margins_choose)(const fm_margins *p, const fm_matrix *x,
                                         const fm_block *block, const void *offset, double scale,
                                         int32_t *labels, int32_t *left, int32_t *again,
                                         ptrdiff_t *n_again, void *scratch)
{
    const ptrdiff_t stride = FM_CANDIDATE_COLUMNS(p->d), places = p->places;
    int16_t *const codes = scratch;
    void *const row = codes + stride * 16 + 32;
    ptrdiff_t found = 0, repeated = 0;
    margin_upcoming upcoming = FM_NAME(margin_next)(x, block, 16, 16);
    upcoming.more = (const char *)p->candidates;
    upcoming.more_bytes = places * (ptrdiff_t)sizeof *p->candidates;
    memset(codes, 0, (size_t)(stride * 16) * sizeof *codes); /* what is no column stays zero */
    for (ptrdiff_t at = 0; at < block->count; at += 16) {
        const ptrdiff_t here = block->count - at, some = here < 16 ? here : 16;
        const fm_block rows = {block->rows + at, 0, here};
        int32_t number[16 * FM_MOST_CANDIDATES], label[16];
        float beyond[16], mover_margin[16] = {0}, margin[16], near[16];
        FM_NAME(margin_rows)(p, x, &rows, some, offset, (real)scale, codes, stride, row);
        for (ptrdiff_t r = 0; r < 16; r++) {
            const ptrdiff_t i = rows.rows[r < some ? r : 0];
            const uint16_t *from = p->candidates + i * places;
            for (ptrdiff_t place = 0; place < places; place++)
                number[16 * place + r] = from[place];
            label[r] = labels[at + (r < some ? r : 0)], beyond[r] = p->beyond[i];
            if (p->n_movers)
                mover_margin[r] = p->mover_margins[i];
        }
        const met_rows met =
            met_few(p, codes, stride, number, places, *(const fm_short_counts *)label, &upcoming);
        const fm_short_floats own = fm_short_take(p->own_moved, (const int32_t *)&met.label);
        const fm_short_floats now = unmet_margin(p, 0, beyond, met);
        const uint32_t proven = met.sure & margin_proves(p, now, met.near);
        uint32_t far = 0xffff;
        if (p->n_movers) {
            /* A label before that is a mover is one now. */
            fm_short_floats movers = unmet_margin(p, 1, mover_margin, met);
            const fm_short_floats least = fm_short_min(movers, met.margin);
            movers = (fm_short_floats)((met.other & (fm_short_counts)least) |
                                       (~met.other & (fm_short_counts)movers));
            far = margin_proves(p, movers, met.near);
            *(fm_short_floats *)mover_margin = margin_kept(own + p->all_moved[1], movers);
        }
        const fm_short_floats spent = own + p->all_moved[0];
        *(fm_short_counts *)label = met.label;
        *(fm_short_floats *)margin = margin_kept(spent, fm_short_min(met.margin, now));
        *(fm_short_floats *)beyond = margin_kept(spent, now);
        *(fm_short_floats *)near = margin_kept(own, met.near);
        for (ptrdiff_t r = 0; r < some; r++) {
            const ptrdiff_t i = rows.rows[r];
            if (!(proven >> r & 1)) {
                left[found++] = (int32_t)(at + r);
                continue;
            }
            if (!(far >> r & 1))
                again[repeated++] = (int32_t)(at + r);
            p->margins[i] = margin[r];
            p->nears[i] = near[r];
            if (labels[at + r] == label[r])
                continue;
            labels[at + r] = label[r];
            p->beyond[i] = beyond[r];
            if (p->n_movers)
                p->mover_margins[i] = mover_margin[r];
        }
    }
    *n_again = repeated;
    return found;
}

static ptrdiff_t FM_NAME(margins_meet)(const fm_margins *p, const fm_matrix *x,
                                       const fm_block *block, const void *offset, double scale,
                                       int32_t *labels, int32_t *left, void *scratch)
{
    const ptrdiff_t columns = FM_MARGIN_COLUMNS(p->d), stride = FM_CANDIDATE_COLUMNS(p->d);
    int32_t *const tile = scratch;
    int16_t *const codes = (int16_t *)(tile + columns / 2 * FM_MARGIN_ROWS);
    void *const row = codes + stride * FM_MARGIN_ROWS + 32;
    ptrdiff_t found = 0;
    margin_upcoming upcoming = FM_NAME(margin_next)(x, block, FM_MARGIN_ROWS,
                                                    margin_groups(p->n_movers) + FM_MARGIN_VECTORS);
    memset(codes, 0, (size_t)(stride * FM_MARGIN_ROWS) * sizeof *codes); /* no column stays zero */
    for (ptrdiff_t at = 0; at < block->count; at += FM_MARGIN_ROWS) {
        const ptrdiff_t here = block->count - at;
        const ptrdiff_t some = here < FM_MARGIN_ROWS ? here : FM_MARGIN_ROWS;
        const fm_block rows = {block->rows + at, 0, here};
        fm_short_floats first[FM_MARGIN_VECTORS], second[FM_MARGIN_VECTORS];
        FM_NAME(margin_rows)(p, x, &rows, some, offset, (real)scale, codes, stride, row);
        margin_tile(codes, stride, columns, tile);
        margin_two(tile, p, p->mover_panels, p->mover_starts, p->n_movers, &upcoming, first,
                   second);
        for (ptrdiff_t from = 0; from < some; from += 16) {
            const ptrdiff_t v = from / 16, those = some - from < 16 ? some - from : 16;
            const ptrdiff_t *const those_rows = rows.rows + from;
            int32_t *const those_labels = labels + at + from;
            int32_t label[16];
            float kept[16], mover_margin[16], near[16];
            fm_short_floats none;
            fm_short_counts same, own;
            for (ptrdiff_t r = 0; r < 16; r++) {
                label[r] = those_labels[r < those ? r : 0];
                kept[r] = p->margins[those_rows[r < those ? r : 0]];
            }
            const fm_short_counts was = *(const fm_short_counts *)label;
            candidate_scores(codes + from * stride, stride, p, label, 1, was, &none, &none, &same,
                             &own, &upcoming);
            const met_rows met =
                met_movers(p, was, own, first[v], second[v], margin_sizes(tile + from, p));
            const fm_short_floats spent = fm_short_take(p->own_moved, (const int32_t *)&met.label);
            /* The label before is one of the others now. */
            const fm_short_floats now = unmet_margin(p, 0, kept, met);
            const fm_short_floats others = fm_short_min(now, met.gain);
            const uint32_t proven = met.sure & margin_proves(p, now, met.near);
            *(fm_short_counts *)label = met.label;
            *(fm_short_floats *)kept = margin_kept(spent + p->all_moved[0], others);
            *(fm_short_floats *)mover_margin = margin_kept(spent + p->all_moved[1], met.margin);
            *(fm_short_floats *)near = margin_kept(spent, met.near);
            for (ptrdiff_t r = 0; r < those; r++) {
                const ptrdiff_t i = those_rows[r];
                if (!(proven >> r & 1)) {
                    left[found++] = (int32_t)(at + from + r);
                    continue;
                }
                p->mover_margins[i] = mover_margin[r];
                p->nears[i] = near[r];
                if (those_labels[r] == label[r])
                    continue;
                those_labels[r] = label[r];
                p->margins[i] = kept[r];
                if (p->places) /* the label may be none of its candidates */
                    p->beyond[i] = -FLT_MAX;
            }
        }
    }
    return found;
}
