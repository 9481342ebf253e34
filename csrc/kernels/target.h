// Compile what lies between two macros for processors with AVX-512-BF16, or also with
// AMX.
//
// Functions from headers must be included before, so that none of them is compiled for
// instructions that another processor lacks and then shared by the linker.
#ifndef JAXFACTORY_KERNELS_TARGET_H_
#define JAXFACTORY_KERNELS_TARGET_H_

#if defined(__x86_64__) && (defined(__clang__) || __GNUC__ >= 10)
#define JAXFACTORY_HAS_AVX512BF16 1
#endif

// Older compilers do not know AMX.
#if defined(JAXFACTORY_HAS_AVX512BF16) && \
    (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)
#define JAXFACTORY_HAS_AMX 1
#endif

// A pragma's text must be a single literal, and GCC 14 needs all of the instructions in
// one pragma.
#define JAXFACTORY_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define JAXFACTORY_TARGET(names) \
  JAXFACTORY_PRAGMA(             \
      clang attribute push(__attribute__((target(names))), apply_to = function))
#define JAXFACTORY_END_AVX512BF16 _Pragma("clang attribute pop")
#else
#define JAXFACTORY_TARGET(names) \
  _Pragma("GCC push_options") JAXFACTORY_PRAGMA(GCC target(names))
#define JAXFACTORY_END_AVX512BF16 _Pragma("GCC pop_options")
#endif
#define JAXFACTORY_BEGIN_AVX512BF16 \
  JAXFACTORY_TARGET("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")
#define JAXFACTORY_BEGIN_AMX \
  JAXFACTORY_TARGET(         \
      "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,amx-tile,amx-bf16")
#define JAXFACTORY_END_AMX JAXFACTORY_END_AVX512BF16

#endif  // JAXFACTORY_KERNELS_TARGET_H_
