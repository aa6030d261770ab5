/* SPDX-License-Identifier: BSD-3-Clause */
/* What a seeding candidate takes off the potential of the rows of one slot:
 *
 *     sum_i w_i max(closest_i - distance_i, 0),
 *
 * in the lanes of potential.inc.h.  A row that is no nearer adds zero, which changes no bit: a list
 * of rows that holds all nearer ones gives the bits of the whole slot.
 */

/* gain_*: all rows; *left takes the potential.  gains_listed_*: rows[0 .. count) for k candidates,
 * closest and w indexed by row; what is nearer is noted as candidate << 16 | row - start and its
 * distance.  Returns how many were noted, or -1 where room was too little. */
#define FM_GAIN(suffix, real, four, ifour)                                                         \
    static double gain_##suffix(const void *distances, const void *closests, const double *w,      \
                                ptrdiff_t count, double *left)                                     \
    {                                                                                              \
        const real *distance = distances, *closest = closests;                                     \
        v4 lanes[4] = {{0}}, gains[4] = {{0}};                                                     \
        ptrdiff_t i = 0;                                                                           \
        for (; i + 16 <= count; i += 16)                                                           \
            for (int q = 0; q < 4; q++) {                                                          \
                const four a = *(const four *)(distance + i + 4 * q);                              \
                const four b = *(const four *)(closest + i + 4 * q);                               \
                const ifour nearer = a < b;                                                        \
                const four least = (four)((nearer & (ifour)a) | (~nearer & (ifour)b));             \
                v4 value = __builtin_convertvector(least, v4);                                     \
                v4 gain = __builtin_convertvector(b, v4) - value;                                  \
                if (w) {                                                                           \
                    value *= *(const v4 *)(w + i + 4 * q);                                         \
                    gain *= *(const v4 *)(w + i + 4 * q);                                          \
                }                                                                                  \
                lanes[q] += value;                                                                 \
                gains[q] += gain;                                                                  \
            }                                                                                      \
        double *lane = (double *)lanes, *lane_gain = (double *)gains;                              \
        for (ptrdiff_t r = 0; i < count; i++, r++) {                                               \
            const double least = (double)(distance[i] < closest[i] ? distance[i] : closest[i]);    \
            const double gain = (double)closest[i] - least;                                        \
            lane[r] += w ? w[i] * least : least;                                                   \
            lane_gain[r] += w ? w[i] * gain : gain;                                                \
        }                                                                                          \
        *left = fold_lanes(lane);                                                                  \
        return fold_lanes(lane_gain);                                                              \
    }                                                                                              \
                                                                                                   \
    static ptrdiff_t gains_listed_##suffix(                                                        \
        const void *distances, ptrdiff_t stride, ptrdiff_t k, const ptrdiff_t *rows,               \
        ptrdiff_t start, ptrdiff_t count, const void *closests, const double *w, double *out,      \
        int32_t *note, void *noted, ptrdiff_t room)                                                \
    {                                                                                              \
        const real *closest = closests;                                                            \
        real *kept = noted;                                                                        \
        ptrdiff_t found = 0;                                                                       \
        for (ptrdiff_t j = 0; j < k; j++) {                                                        \
            const real *distance = (const real *)distances + j * stride;                           \
            double lane[16] = {0};                                                                 \
            for (ptrdiff_t i = 0; i < count; i++) {                                                \
                const ptrdiff_t row = rows[i];                                                     \
                if (!(distance[i] < closest[row]))                                                 \
                    continue;                                                                      \
                const double gain = (double)closest[row] - (double)distance[i];                    \
                lane[(row - start) % 16] += w ? w[row] * gain : gain;                              \
                if (found < room) {                                                                \
                    note[found] = (int32_t)(j << 16 | (row - start));                              \
                    kept[found] = distance[i];                                                     \
                }                                                                                  \
                found++;                                                                           \
            }                                                                                      \
            out[j] = fold_lanes(lane);                                                             \
        }                                                                                          \
        return found <= room ? found : -1;                                                         \
    }                                                                                              \
                                                                                                   \
    /* closest[row] = distance of what was noted of one candidate. */                              \
    static void accept_##suffix(const int32_t *note, const void *noted, ptrdiff_t found,           \
                                int32_t candidate, void *closests)                                 \
    {                                                                                              \
        const real *kept = noted;                                                                  \
        real *closest = closests;                                                                  \
        for (ptrdiff_t i = 0; i < found; i++)                                                      \
            if (note[i] >> 16 == candidate)                                                        \
                closest[note[i] & 0xffff] = kept[i];                                               \
    }

FM_GAIN(f32, float, f4, i4)
FM_GAIN(f64, double, v4, l4)
#undef FM_GAIN
