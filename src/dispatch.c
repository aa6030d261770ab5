/* SPDX-License-Identifier: BSD-3-Clause */
/* The tables that were compiled in, and which of them this processor runs. */
#include "fm_kernels.h"

#include <string.h>

extern const fm_isa fm_isa_scalar;
#ifdef FM_X86
extern const fm_isa fm_isa_x86_v2, fm_isa_x86_v3, fm_isa_x86_v4;
static const fm_isa *const tables[] = {&fm_isa_scalar, &fm_isa_x86_v2, &fm_isa_x86_v3,
                                       &fm_isa_x86_v4};
#elif defined(FM_NEON)
extern const fm_isa fm_isa_neon;
static const fm_isa *const tables[] = {&fm_isa_scalar, &fm_isa_neon};
#else
static const fm_isa *const tables[] = {&fm_isa_scalar};
#endif

const fm_isa *const *fm_isas(int *count)
{
    *count = (int)(sizeof tables / sizeof tables[0]);
    return tables;
}

int fm_isa_supported(const fm_isa *isa)
{
#ifdef FM_X86
    /* Exactly the features named in meson.build; the compiler's probe covers the operating
     * system's support for the wider registers as well. */
    __builtin_cpu_init();
    if (!strcmp(isa->name, "x86_v2"))
        return __builtin_cpu_supports("sse4.2") != 0;
    if (!strcmp(isa->name, "x86_v3"))
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (!strcmp(isa->name, "x86_v4"))
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    (void)isa;
    return 1;
}

int fm_shortlists(const fm_isa *isa)
{
    if (!isa->shortlist_f32->assign)
        return 0;
#ifdef FM_X86
    __builtin_cpu_init();
    if (!strcmp(isa->name, "x86_v4"))
        return __builtin_cpu_supports("avx512vnni") ? 2 : 0;
#endif
    return 1;
}

int fm_intel(void)
{
#ifdef FM_X86
    __builtin_cpu_init();
    return __builtin_cpu_is("intel") != 0;
#else
    return 0;
#endif
}
