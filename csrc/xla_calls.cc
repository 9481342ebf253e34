#include "xla_calls.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <exception>
#include <span>

#include "env_pool.h"
#include "xla/ffi/api/ffi.h"

namespace jaxfactory {
namespace {

namespace ffi = xla::ffi;

using Token = ffi::Buffer<ffi::S32>;
using Actions = ffi::Buffer<ffi::S32>;
template <ffi::DataType type>
using Out = ffi::Result<ffi::Buffer<type>>;

// Where the results go; in the order in which XLA hands them over.
struct Results {
  Out<ffi::S32> token;
  Out<ffi::U8> obs, final_obs;
  Out<ffi::F32> measurements, final_measurements;
  Out<ffi::F32> reward, raw_reward;
  Out<ffi::PRED> terminated, truncated, is_first, restarted;
  Out<ffi::F32> episode_shaped_return, episode_raw_return;
  Out<ffi::S32> episode_length, frags, place;
  Out<ffi::F32> variables;
};

template <typename To, typename From>
void Copy(const From* from, To* to, std::size_t size) {
  if constexpr (sizeof(To) == sizeof(From)) {
    std::memcpy(to, from, size * sizeof(To));
  } else {
    std::copy_n(from, size, to);  // a double as a float
  }
}

// All rows of one array at a position, [B, ...], lie one after another.
template <typename T, ffi::DataType type>
void CopyRows(const EnvPool& pool, Position position, const AlignedArray<T>& from,
              Out<type>& to) {
  const std::size_t size = to->element_count();
  const auto slot = static_cast<std::size_t>(position.slab) *
                        static_cast<std::size_t>(pool.config().num_steps + 1) +
                    static_cast<std::size_t>(position.slot);
  Copy(from.data() + slot * size, to->typed_data(), size);
}

void Receive(EnvPool& pool, const Token& token, Results results) {
  Position position;
  std::exception_ptr error;
  // Every group is received before anything is thrown, so that none stays half sent.
  for (int group = 0; group < pool.config().num_groups; ++group) {
    try {
      while (!pool.Recv(group, std::chrono::milliseconds(100), &position)) {
      }
    } catch (...) {
      if (!error) error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
  const Slabs& slabs = pool.slabs();
  const auto copy = [&](const auto& from, auto& to) {
    CopyRows(pool, position, from, to);
  };
  *results.token->typed_data() = *token.typed_data() + 1;
  copy(slabs.obs, results.obs);
  Copy(slabs.final_obs.data(), results.final_obs->typed_data(),
       results.final_obs->element_count());
  copy(slabs.measurements, results.measurements);
  Copy(slabs.final_measurements.data(), results.final_measurements->typed_data(),
       results.final_measurements->element_count());
  copy(slabs.reward, results.reward);
  copy(slabs.raw_reward, results.raw_reward);
  copy(slabs.terminated, results.terminated);
  copy(slabs.truncated, results.truncated);
  copy(slabs.is_first, results.is_first);
  copy(slabs.restarted, results.restarted);
  copy(slabs.episode_shaped_return, results.episode_shaped_return);
  copy(slabs.episode_raw_return, results.episode_raw_return);
  copy(slabs.episode_length, results.episode_length);
  copy(slabs.frags, results.frags);
  copy(slabs.place, results.place);
  copy(slabs.variables, results.variables);
}

// Nothing may be thrown through XLA.
template <typename Action>
ffi::Error Guarded(Action&& action) {
  try {
    action();
    return ffi::Error::Success();
  } catch (const std::exception& error) {
    return ffi::Error::Internal(error.what());
  }
}

EnvPool& At(std::int64_t address) {
  return *reinterpret_cast<EnvPool*>(static_cast<std::intptr_t>(address));
}

ffi::Error Reset(std::int64_t address, Token token, Out<ffi::S32> next,
                 Out<ffi::U8> obs, Out<ffi::U8> final_obs, Out<ffi::F32> measurements,
                 Out<ffi::F32> final_measurements, Out<ffi::F32> reward,
                 Out<ffi::F32> raw_reward, Out<ffi::PRED> terminated,
                 Out<ffi::PRED> truncated, Out<ffi::PRED> is_first,
                 Out<ffi::PRED> restarted, Out<ffi::F32> episode_shaped_return,
                 Out<ffi::F32> episode_raw_return, Out<ffi::S32> episode_length,
                 Out<ffi::S32> frags, Out<ffi::S32> place, Out<ffi::F32> variables) {
  return Guarded([&] {
    EnvPool& pool = At(address);
    for (int group = 0; group < pool.config().num_groups; ++group) {
      pool.SendReset(group);
    }
    Receive(pool, token,
            {next, obs, final_obs, measurements, final_measurements, reward, raw_reward,
             terminated, truncated, is_first, restarted, episode_shaped_return,
             episode_raw_return, episode_length, frags, place, variables});
  });
}

ffi::Error Step(std::int64_t address, Token token, Actions actions, Out<ffi::S32> next,
                Out<ffi::U8> obs, Out<ffi::U8> final_obs, Out<ffi::F32> measurements,
                Out<ffi::F32> final_measurements, Out<ffi::F32> reward,
                Out<ffi::F32> raw_reward, Out<ffi::PRED> terminated,
                Out<ffi::PRED> truncated, Out<ffi::PRED> is_first,
                Out<ffi::PRED> restarted, Out<ffi::F32> episode_shaped_return,
                Out<ffi::F32> episode_raw_return, Out<ffi::S32> episode_length,
                Out<ffi::S32> frags, Out<ffi::S32> place, Out<ffi::F32> variables) {
  return Guarded([&] {
    EnvPool& pool = At(address);
    const std::span<const std::int32_t> all(actions.typed_data(),
                                            actions.element_count());
    pool.Check(all);  // before the first send, so that no group is sent alone
    const std::size_t part =
        all.size() / static_cast<std::size_t>(pool.config().num_groups);
    for (int group = 0; group < pool.config().num_groups; ++group) {
      pool.Send(group, all.subspan(static_cast<std::size_t>(group) * part, part));
    }
    Receive(pool, token,
            {next, obs, final_obs, measurements, final_measurements, reward, raw_reward,
             terminated, truncated, is_first, restarted, episode_shaped_return,
             episode_raw_return, episode_length, frags, place, variables});
  });
}

#define JAXFACTORY_RESULTS           \
  .Ret<ffi::Buffer<ffi::S32>>()      \
      .Ret<ffi::Buffer<ffi::U8>>()   \
      .Ret<ffi::Buffer<ffi::U8>>()   \
      .Ret<ffi::Buffer<ffi::F32>>()  \
      .Ret<ffi::Buffer<ffi::F32>>()  \
      .Ret<ffi::Buffer<ffi::F32>>()  \
      .Ret<ffi::Buffer<ffi::F32>>()  \
      .Ret<ffi::Buffer<ffi::PRED>>() \
      .Ret<ffi::Buffer<ffi::PRED>>() \
      .Ret<ffi::Buffer<ffi::PRED>>() \
      .Ret<ffi::Buffer<ffi::PRED>>() \
      .Ret<ffi::Buffer<ffi::F32>>()  \
      .Ret<ffi::Buffer<ffi::F32>>()  \
      .Ret<ffi::Buffer<ffi::S32>>()  \
      .Ret<ffi::Buffer<ffi::S32>>()  \
      .Ret<ffi::Buffer<ffi::S32>>()  \
      .Ret<ffi::Buffer<ffi::F32>>()

XLA_FFI_DEFINE_HANDLER(kReset, Reset,
                       ffi::Ffi::Bind().Attr<std::int64_t>("pool").Arg<Token>()
                           JAXFACTORY_RESULTS);
XLA_FFI_DEFINE_HANDLER(
    kStep, Step,
    ffi::Ffi::Bind().Attr<std::int64_t>("pool").Arg<Token>().Arg<Actions>()
        JAXFACTORY_RESULTS);

#undef JAXFACTORY_RESULTS

}  // namespace

void* XlaResetHandler() { return reinterpret_cast<void*>(kReset); }
void* XlaStepHandler() { return reinterpret_cast<void*>(kStep); }

}  // namespace jaxfactory
