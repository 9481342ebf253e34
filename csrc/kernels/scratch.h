// Arrays that kernels write before they read them.
#ifndef JAXFACTORY_KERNELS_SCRATCH_H_
#define JAXFACTORY_KERNELS_SCRATCH_H_

#include <cstddef>
#include <new>
#include <vector>

namespace jaxfactory {

// Aligns to the lines of the caches, and does not initialize.
template <typename T>
struct ScratchAllocator {
  using value_type = T;

  ScratchAllocator() = default;
  template <typename U>
  ScratchAllocator(const ScratchAllocator<U>&) {}  // NOLINT: allocators convert

  T* allocate(std::size_t count) {
    return static_cast<T*>(::operator new(count * sizeof(T), kAlignment));
  }
  void deallocate(T* values, std::size_t) { ::operator delete(values, kAlignment); }
  template <typename U>
  void construct(U* value) {
    ::new (static_cast<void*>(value)) U;
  }

  friend bool operator==(const ScratchAllocator&, const ScratchAllocator&) {
    return true;
  }

  static constexpr std::align_val_t kAlignment{64};
};

template <typename T>
using ScratchArray = std::vector<T, ScratchAllocator<T>>;

}  // namespace jaxfactory

#endif  // JAXFACTORY_KERNELS_SCRATCH_H_
