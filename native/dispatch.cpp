// Which instruction sets were built, and which of them this machine has.
#include <iterator>

#include "api.h"

#if defined(DYNEXIT_X86)
#include <cpuid.h>
#elif defined(DYNEXIT_ARM) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(DYNEXIT_ARM) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

#define DYNEXIT_BUILT(name) namespace name { extern const dx_runtime runtime; }
#if defined(DYNEXIT_X86)
DYNEXIT_BUILT(portable)
DYNEXIT_BUILT(avx2)
DYNEXIT_BUILT(avxvnni)
DYNEXIT_BUILT(avx512)
DYNEXIT_BUILT(avx512vnni)
DYNEXIT_BUILT(avx512bf16)
#elif defined(DYNEXIT_ARM)
DYNEXIT_BUILT(neon)
DYNEXIT_BUILT(neonbf16)
#else
DYNEXIT_BUILT(portable)
#endif

namespace {

#if defined(DYNEXIT_ARM) && defined(DYNEXIT_DOTS)
// Whether the processor multiplies pairs of bf16 numbers and fours of bytes, as the system tells it.
bool has_dots() {
#if defined(__linux__)
    // HWCAP2_BF16 and HWCAP_ASIMDDP, which older headers do not name
    return (getauxval(AT_HWCAP2) >> 14 & 1) && (getauxval(AT_HWCAP) >> 20 & 1);
#elif defined(__APPLE__)
    int has = 0;
    size_t size = sizeof has;
    return sysctlbyname("hw.optional.arm.FEAT_BF16", &has, &size, nullptr, 0) == 0 && has;
#else
    return false;
#endif
}
#endif

#if defined(DYNEXIT_X86) && defined(DYNEXIT_AVXVNNI)
// Whether a processor that has AVX2 multiplies fours of bytes without AVX-512, too; not all compilers can ask for it.
bool has_avxvnni() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}
#endif

// Puts what this machine can run in `usable`, fastest first.
void find(const dx_runtime** usable) {
#if defined(DYNEXIT_X86)
    __builtin_cpu_init();
    const bool fma = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool wide = fma && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#if defined(DYNEXIT_EMULATE_DOTS)
    if (wide) *usable++ = &avx512bf16::runtime;
#elif defined(DYNEXIT_DOTS)
    if (wide && __builtin_cpu_supports("avx512bf16")) *usable++ = &avx512bf16::runtime;
#endif
#if defined(DYNEXIT_VNNI)
    if (wide && __builtin_cpu_supports("avx512vnni")) *usable++ = &avx512vnni::runtime;
#endif
    if (wide) *usable++ = &avx512::runtime;
#if defined(DYNEXIT_AVXVNNI)
    if (fma && has_avxvnni()) *usable++ = &avxvnni::runtime;
#endif
    if (fma) *usable++ = &avx2::runtime;
    *usable = &portable::runtime;
#elif defined(DYNEXIT_ARM)
#if defined(DYNEXIT_DOTS)
    if (has_dots()) *usable++ = &neonbf16::runtime;
#endif
    *usable = &neon::runtime;
#else
    *usable = &portable::runtime;
#endif
}

}  // namespace

extern "C" const dx_runtime* dx_runtime_at(int index) {
    static const dx_runtime* usable[8] = {};
    static const bool filled = (find(usable), true);
    return filled && index >= 0 && index < int(std::size(usable)) ? usable[index] : nullptr;
}
