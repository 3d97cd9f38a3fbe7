// Which instruction sets were built, and which of them this machine has.
#include <iterator>

#include "api.h"

namespace portable { extern const dx_runtime runtime; }
#if defined(__x86_64__)
namespace avx2 { extern const dx_runtime runtime; }
namespace avx512 { extern const dx_runtime runtime; }
#if defined(DYNEXIT_DOTS)
namespace avx512bf16 { extern const dx_runtime runtime; }
#endif
#endif

extern "C" const dx_runtime* dx_runtime_at(int index) {
    static const dx_runtime* usable[5] = {};
    static const bool filled = [] {
        int count = 0;
#if defined(__x86_64__)
        __builtin_cpu_init();
        const bool fma = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
        const bool wide = fma && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#if defined(DYNEXIT_EMULATE_DOTS)
        if (wide) usable[count++] = &avx512bf16::runtime;
#elif defined(DYNEXIT_DOTS)
        if (wide && __builtin_cpu_supports("avx512bf16")) usable[count++] = &avx512bf16::runtime;
#endif
        if (wide) usable[count++] = &avx512::runtime;
        if (fma) usable[count++] = &avx2::runtime;
#endif
        usable[count] = &portable::runtime;
        return true;
    }();
    return filled && index >= 0 && index < int(std::size(usable)) ? usable[index] : nullptr;
}
