#include "kernels/instructions.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "kernels/bf16.h"
#include "kernels/target.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace jaxfactory {
namespace {

Instructions WithoutTiles() {
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

// Whether the processor has AMX for bfloat16, and Linux lets this process use it. Linux
// saves 8 KiB more for a thread that does, and so wants to be asked:
// https://docs.kernel.org/arch/x86/xstate.html
[[maybe_unused]] bool GetTiles() {
#if defined(JAXFACTORY_SOFTWARE_TILES) && defined(JAXFACTORY_HAS_AMX)
  return true;
#elif defined(JAXFACTORY_HAS_AMX) && defined(__linux__)
  constexpr unsigned kBf16 = 1U << 22, kTile = 1U << 24;
  unsigned a, b, c, d;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  if ((d & kBf16) == 0 || (d & kTile) == 0) return false;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

Instructions Allowed() {
  const char* name = std::getenv("JAXFACTORY_MAX_ISA");
  const std::string_view most = name == nullptr ? "" : name;
  if (most == "NONE") return Instructions::kNone;
  if (most == "AVX2") return Instructions::kAvx2;
  if (most == "AVX512") return Instructions::kAvx512;
  if (most == "AVX512BF16") return Instructions::kAvx512Bf16;
  return Instructions::kAmx;
}

Instructions Best() {
  const Instructions allowed = Allowed(), best = std::min(WithoutTiles(), allowed);
  const bool more = best == Instructions::kAvx512Bf16 && allowed > best;
  return more && GetTiles() ? Instructions::kAmx : best;
}

}  // namespace

Instructions BestInstructions() {
  static const Instructions best = Best();
  return best;
}

bool Bf16Supported() { return BestInstructions() >= Instructions::kAvx512Bf16; }

const char* Bf16Instructions() {
  switch (BestInstructions()) {
    case Instructions::kAmx:
      return "AMX";
    case Instructions::kAvx512Bf16:
      return "AVX-512-BF16";
    default:
      return "";
  }
}

}  // namespace jaxfactory
