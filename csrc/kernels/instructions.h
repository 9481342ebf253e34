// The instructions that kernels may use.
#ifndef JAXFACTORY_KERNELS_INSTRUCTIONS_H_
#define JAXFACTORY_KERNELS_INSTRUCTIONS_H_

namespace jaxfactory {

// In the order of speed; each includes those before it.
enum class Instructions { kNone, kAvx2, kAvx512, kAvx512Bf16, kAmx };

// The best that this processor has, but no better than the environment variable
// JAXFACTORY_MAX_ISA allows: NONE, AVX2, AVX512 or AVX512BF16. The first call asks the
// operating system for the tiles of AMX, which it gives to the whole process.
Instructions BestInstructions();

}  // namespace jaxfactory

#endif  // JAXFACTORY_KERNELS_INSTRUCTIONS_H_
