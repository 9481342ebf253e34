// The gradient of a convolution's kernel, summed over images two at a time: pairs of
// bfloat16 values are those of two images.
#ifndef JAXFACTORY_KERNELS_KERNEL_GRADIENT_H_
#define JAXFACTORY_KERNELS_KERNEL_GRADIENT_H_

#include <cstddef>

#include "kernels/bf16.h"
#include "kernels/convolution.h"
#include "kernels/scratch.h"

namespace jaxfactory {

class KernelGradientSum {
 public:
  // For at most `most` pairs of images between calls of `Add`. `images` of the shape is
  // not used.
  KernelGradientSum(const ConvShape& shape, int most);

  // Sets pair number `slot`: the images [H, W, C], and the gradients [P, Q, O] of their
  // results before the activation function. The second ones may be null.
  void Set(int slot, const Bf16* const images[2], const Bf16* const errors[2]);
  // Adds the gradient [K, K, C, O] of the first `pairs` pairs to `sums`, but not
  // necessarily before `Finish` is called with the same `sums`.
  void Add(int pairs, float* sums);
  void Finish(float* sums) const;

 private:
  void SetTransposed(const Bf16* const errors[2], Pair* to) const;
  void AddRows(int pairs, float* sums) const;

  ConvShape shape_;
  bool tiles_;
  std::size_t errors_size_;    // of a pair of images
  ScratchArray<Pair> images_;  // [most, H, W, C]
  ScratchArray<Pair> errors_;  // [most, P, Q, O], or tiles of them
  ScratchArray<float> sums_;   // with tiles: [O, K K C], K K C rounded up to 16
};

}  // namespace jaxfactory

#endif  // JAXFACTORY_KERNELS_KERNEL_GRADIENT_H_
