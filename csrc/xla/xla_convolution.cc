#include "xla/xla_convolution.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "kernels/convolution.h"
#include "xla/ffi/api/ffi.h"

namespace jaxfactory {
namespace {

namespace ffi = xla::ffi;

using Array = ffi::Buffer<ffi::F32>;
using Out = ffi::Result<ffi::Buffer<ffi::F32>>;

// The number of pieces of a batch. It is independent of the number of threads, so that
// sums over pieces are too.
constexpr int kPieces = 16;

// Work shared by the idle threads. It outlives the call, because a thread of the pool
// may start only after everything is done.
struct Shared {
  std::function<void(int)> work;
  int pieces = 0;
  std::atomic<int> next{0};
  std::mutex mutex;
  std::condition_variable done;
  int finished = 0;

  void Help() {
    int count = 0;
    for (int piece = next++; piece < pieces; piece = next++, ++count) work(piece);
    if (count == 0) return;
    const std::scoped_lock lock(mutex);
    finished += count;
    if (finished == pieces) done.notify_all();
  }
};

// Runs pieces 0 to `pieces` - 1 on the caller's thread and on those of XLA that are
// idle. The caller works as well, so it never waits for a thread that has not started.
void InPieces(ffi::ThreadPool& pool, int pieces, std::function<void(int)> work) {
  auto shared = std::make_shared<Shared>();
  shared->work = std::move(work);
  shared->pieces = pieces;
  const int helpers =
      static_cast<int>(std::min<std::int64_t>(pool.num_threads(), pieces)) - 1;
  for (int i = 0; i < helpers; ++i) {
    pool.Schedule([shared] { shared->Help(); });
  }
  shared->Help();
  std::unique_lock lock(shared->mutex);
  shared->done.wait(lock, [&] { return shared->finished == shared->pieces; });
}

// First image of a piece.
int FirstOf(int piece, int pieces, int images) {
  return static_cast<int>(static_cast<std::int64_t>(images) * piece / pieces);
}

template <typename Images, typename Kernel>
ConvShape ShapeOf(const Images& images, const Kernel& kernel, std::int64_t stride) {
  const auto of = [](std::int64_t size) { return static_cast<int>(size); };
  return {of(images[0]), of(images[1]), of(images[2]), of(images[3]),
          of(kernel[0]), of(stride),    of(kernel[3])};
}

ffi::Error Forward(ffi::ThreadPool pool, std::int64_t stride, Array x, Array kernel,
                   Out y) {
  const ConvShape shape = ShapeOf(x.dimensions(), kernel.dimensions(), stride);
  const int pieces = std::min(kPieces, shape.images);
  InPieces(pool, pieces, [&](int piece) {
    ConvForward(shape, x.typed_data(), kernel.typed_data(), y->typed_data(),
                FirstOf(piece, pieces, shape.images),
                FirstOf(piece + 1, pieces, shape.images));
  });
  return ffi::Error::Success();
}

ffi::Error KernelGradient(ffi::ThreadPool pool, std::int64_t stride, Array x, Array dy,
                          Out kernel_gradient) {
  const ConvShape shape =
      ShapeOf(x.dimensions(), kernel_gradient->dimensions(), stride);
  const int pieces = std::min(kPieces, shape.images);
  const std::size_t size = shape.kernel();
  std::vector<float> sums(size * static_cast<std::size_t>(pieces));
  InPieces(pool, pieces, [&](int piece) {
    ConvKernelGradient(shape, x.typed_data(), dy.typed_data(),
                       sums.data() + static_cast<std::size_t>(piece) * size,
                       FirstOf(piece, pieces, shape.images),
                       FirstOf(piece + 1, pieces, shape.images));
  });
  float* out = kernel_gradient->typed_data();
  std::copy_n(sums.data(), size, out);
  for (int piece = 1; piece < pieces; ++piece) {
    const float* part = sums.data() + static_cast<std::size_t>(piece) * size;
    for (std::size_t i = 0; i < size; ++i) out[i] += part[i];
  }
  return ffi::Error::Success();
}

ffi::Error ImageGradient(ffi::ThreadPool pool, std::int64_t stride, Array kernel,
                         Array dy, Out dx) {
  const ConvShape shape = ShapeOf(dx->dimensions(), kernel.dimensions(), stride);
  const int pieces = std::min(kPieces, shape.images);
  std::vector<float> transposed(shape.kernel());
  TransposeKernel(shape, kernel.typed_data(), transposed.data());
  InPieces(pool, pieces, [&](int piece) {
    ConvImageGradient(shape, transposed.data(), dy.typed_data(), dx->typed_data(),
                      FirstOf(piece, pieces, shape.images),
                      FirstOf(piece + 1, pieces, shape.images));
  });
  return ffi::Error::Success();
}

// Shared by all three handlers.
auto Signature() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Attr<std::int64_t>("stride")
      .Arg<Array>()
      .Arg<Array>()
      .Ret<Array>();
}

XLA_FFI_DEFINE_HANDLER(kForward, Forward, Signature());
XLA_FFI_DEFINE_HANDLER(kKernelGradient, KernelGradient, Signature());
XLA_FFI_DEFINE_HANDLER(kImageGradient, ImageGradient, Signature());

}  // namespace

void* XlaConvForwardHandler() { return reinterpret_cast<void*>(kForward); }
void* XlaConvKernelGradientHandler() {
  return reinterpret_cast<void*>(kKernelGradient);
}
void* XlaConvImageGradientHandler() { return reinterpret_cast<void*>(kImageGradient); }

}  // namespace jaxfactory
