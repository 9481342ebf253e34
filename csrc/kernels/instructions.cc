#include "kernels/instructions.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "kernels/bf16.h"
#include "kernels/target.h"

namespace jaxfactory {
namespace {

Instructions OfProcessor() {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
    return Instructions::kNone;
  }
  if (!__builtin_cpu_supports("avx512f")) return Instructions::kAvx2;
#ifdef JAXFACTORY_HAS_AVX512BF16
  if (__builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    return Instructions::kAvx512Bf16;
  }
#endif
  return Instructions::kAvx512;
#else
  return Instructions::kNone;
#endif
}

Instructions Allowed() {
  const char* name = std::getenv("JAXFACTORY_MAX_ISA");
  const std::string_view most = name == nullptr ? "" : name;
  if (most == "NONE") return Instructions::kNone;
  if (most == "AVX2") return Instructions::kAvx2;
  if (most == "AVX512") return Instructions::kAvx512;
  return Instructions::kAvx512Bf16;
}

}  // namespace

Instructions BestInstructions() {
  static const Instructions best = std::min(OfProcessor(), Allowed());
  return best;
}

bool Bf16Supported() { return BestInstructions() >= Instructions::kAvx512Bf16; }

}  // namespace jaxfactory
