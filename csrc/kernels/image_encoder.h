// The convolutions of an image encoder in one go: uint8 images are normalized on the
// way in, and bias and activation function are applied on the way out of each layer.
// Products of bfloat16 values, sums and gradients of parameters in float32.
//
// Images are [N, H, W, C], kernels [K, K, C, O]; there is no padding. Activations are
// bfloat16, float32 only while they are summed. An image passes through all layers
// before the next one, so that what lies between layers stays in the caches.
#ifndef JAXFACTORY_KERNELS_IMAGE_ENCODER_H_
#define JAXFACTORY_KERNELS_IMAGE_ENCODER_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/bf16.h"
#include "kernels/convolution.h"
#include "kernels/scratch.h"

namespace jaxfactory {

// The images, and how a pixel is normalized: clip(pixel * scale + shift).
struct Pixels {
  const std::uint8_t* values = nullptr;  // [N, H, W, C]
  const float* scale = nullptr;          // [H, W, C]
  const float* shift = nullptr;          // [H, W, C]
  float clip = 0;
};

// Layers have a multiple of 8 values in a row of a patch, of 16 where the gradient with
// respect to their images is computed, and a multiple of 16 outputs.
struct ConvLayer {
  ConvShape shape;                // `images` is not used
  const float* kernel = nullptr;  // [K, K, C, O]
  const float* bias = nullptr;    // [O]
  Bf16* result = nullptr;         // [N, P, Q, O], after the activation function; may be
                                  // null in a forward pass of all but the last layer
};

// Layers with their kernels in the layout of the products.
class ImageEncoder {
 public:
  // `gradient` if `Backward` will be called. The layers must outlive the encoder.
  ImageEncoder(const std::vector<ConvLayer>& layers, Finish activation, bool gradient);

  // Compute the results of images `first` to `last` - 1.
  void Forward(const Pixels& pixels, int first, int last) const;

  // Number of floats of all gradients: of each layer its kernel's, then its bias's.
  std::size_t gradients() const { return gradients_; }
  // Add the gradients for those images to `sums`. `errors` [N, P, Q, O] is the gradient
  // of the last layer's results.
  void Backward(const Pixels& pixels, const float* errors, int first, int last,
                float* sums) const;

 private:
  struct Scratch;

  void Layer(std::size_t index, const Bf16* image, Bf16* result) const;
  void ImageGradient(std::size_t index, const Bf16* errors, float* to) const;

  std::vector<ConvLayer> layers_;
  Finish activation_;
  std::vector<ScratchArray<Pair>> kernels_;     // pairs along a patch's row
  std::vector<ScratchArray<Pair>> transposed_;  // pairs of outputs, see ImageGradient
  std::size_t gradients_ = 0;
};

}  // namespace jaxfactory

#endif  // JAXFACTORY_KERNELS_IMAGE_ENCODER_H_
