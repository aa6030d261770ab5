/* SPDX-License-Identifier: BSD-3-Clause */
/* Potential of a seeding candidate over the rows of one slot (Arthur and Vassilvitskii 2007):
 *
 *     sum_i w_i min(closest_i, distance_i)
 *
 * in float64, over 16 virtual lanes, i modulo 16, added up in one fixed order: the bits depend on
 * the slot alone.  Where keep is not NULL it takes the minima (closest itself may be given).
 */
typedef float f4 __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t i4 __attribute__((vector_size(16)));
typedef int64_t l4 __attribute__((vector_size(32)));

/* The sum of the lanes, which it overwrites. */
FM_INLINE double fold_lanes(double *lane)
{
    for (ptrdiff_t half = 8; half; half /= 2)
        for (ptrdiff_t r = 0; r < half; r++)
            lane[r] += lane[r + half];
    return lane[0];
}

#define FM_POTENTIAL(suffix, real, four, ifour)                                                    \
    static double potential_##suffix(const void *distances, const void *closests, const double *w, \
                                     ptrdiff_t count, void *keeps)                                 \
    {                                                                                              \
        const real *distance = distances, *closest = closests;                                     \
        real *keep = keeps;                                                                        \
        v4 lanes[4] = {{0}};                                                                       \
        ptrdiff_t i = 0;                                                                           \
        for (; i + 16 <= count; i += 16)                                                           \
            for (int q = 0; q < 4; q++) {                                                          \
                const four a = *(const four *)(distance + i + 4 * q);                              \
                const four b = *(const four *)(closest + i + 4 * q);                               \
                const ifour nearer = a < b;                                                        \
                const four least = (four)((nearer & (ifour)a) | (~nearer & (ifour)b));             \
                if (keep)                                                                          \
                    *(four *)(keep + i + 4 * q) = least;                                           \
                v4 value = __builtin_convertvector(least, v4);                                     \
                if (w)                                                                             \
                    value *= *(const v4 *)(w + i + 4 * q);                                         \
                lanes[q] += value;                                                                 \
            }                                                                                      \
        double *lane = (double *)lanes;                                                            \
        for (ptrdiff_t r = 0; i < count; i++, r++) {                                               \
            const real least = distance[i] < closest[i] ? distance[i] : closest[i];                \
            if (keep)                                                                              \
                keep[i] = least;                                                                   \
            lane[r] += w ? w[i] * (double)least : (double)least;                                   \
        }                                                                                          \
        return fold_lanes(lane);                                                                   \
    }

FM_POTENTIAL(f32, float, f4, i4)
FM_POTENTIAL(f64, double, v4, l4)
#undef FM_POTENTIAL
