// Work in pieces, on the threads that run a compiled program.
#ifndef JAXFACTORY_XLA_PIECES_H_
#define JAXFACTORY_XLA_PIECES_H_

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

#include "xla/ffi/api/ffi.h"

namespace jaxfactory {

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
  std::exception_ptr error;  // of one of the pieces, which counts as finished

  void Help() {
    int count = 0;
    std::exception_ptr mine;
    for (int piece = next++; piece < pieces; piece = next++, ++count) {
      try {
        work(piece);
      } catch (...) {  // for want of memory
        mine = std::current_exception();
      }
    }
    if (count == 0) return;
    const std::scoped_lock lock(mutex);
    if (mine) error = mine;
    finished += count;
    if (finished == pieces) done.notify_all();
  }
};

// Runs pieces 0 to `pieces` - 1 on the caller's thread and on those of XLA that are
// idle. The caller works as well, so it never waits for a thread that has not started.
// Throws what one of them has thrown, once all have ended.
inline void InPieces(xla::ffi::ThreadPool& pool, int pieces,
                     std::function<void(int)> work) {
  auto shared = std::make_shared<Shared>();
  shared->work = std::move(work);
  shared->pieces = pieces;
  const int helpers =
      static_cast<int>(std::min<std::int64_t>(pool.num_threads(), pieces)) - 1;
  try {
    for (int i = 0; i < helpers; ++i) {
      pool.Schedule([shared] { shared->Help(); });
    }
  } catch (const std::bad_alloc&) {  // ignored: there are fewer helpers then
  }
  shared->Help();
  std::unique_lock lock(shared->mutex);
  shared->done.wait(lock, [&] { return shared->finished == shared->pieces; });
  if (shared->error) std::rethrow_exception(shared->error);
}

// A handler that throws nothing through XLA.
template <auto kHandler>
struct Guarded;

template <typename... Args, xla::ffi::Error (*kHandler)(Args...)>
struct Guarded<kHandler> {
  xla::ffi::Error operator()(Args... args) const {
    try {
      return kHandler(std::move(args)...);
    } catch (const std::bad_alloc&) {
      return {xla::ffi::ErrorCode::kResourceExhausted, "no memory is left"};
    } catch (const std::exception& error) {
      return xla::ffi::Error::Internal(error.what());
    }
  }
};

// First image of a piece.
inline int FirstOf(int piece, int pieces, int images) {
  return static_cast<int>(static_cast<std::int64_t>(images) * piece / pieces);
}

}  // namespace jaxfactory

#endif  // JAXFACTORY_XLA_PIECES_H_
