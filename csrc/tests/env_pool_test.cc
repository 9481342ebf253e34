// The pool over the counting environment: order, determinism, errors, closing.
#include "pool/env_pool.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "pool/counting_env.h"
#include "tests/check.h"

namespace jaxfactory {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kPatience{20000};
constexpr int kEnvs = 12;
constexpr int kObsBytes = 16;

PoolConfig Config(int groups, int workers) {
  PoolConfig config;
  config.num_envs = kEnvs;
  config.num_groups = groups;
  config.num_workers = workers;
  config.num_steps = 5;
  config.num_slabs = 3;
  config.seed = 3;
  return config;
}

// Never finishes: like an engine that hangs.
class StuckEnv final : public Env {
 public:
  void Seed(std::uint32_t /*seed*/) override {}
  void BeginReset(std::span<const StepSlot> /*slots*/) override {}
  void BeginStep(const std::int32_t* /*actions*/,
                 std::span<const StepSlot> /*slots*/) override {}
  bool Advance() override {
    std::this_thread::sleep_for(milliseconds(1));
    return false;
  }
};

Position Wait(EnvPool& pool, int group) {
  Position position;
  CHECK(pool.Recv(group, kPatience, &position));
  return position;
}

void ResetAll(EnvPool& pool) {
  for (int g = 0; g < pool.config().num_groups; ++g) pool.SendReset(g);
  for (int g = 0; g < pool.config().num_groups; ++g) Wait(pool, g);
}

// The results of many steps, in one list.
std::vector<double> Rollout(const PoolConfig& config, int steps) {
  EnvPool pool(config, CountingKind({}));
  ResetAll(pool);
  std::vector<double> seen;
  const int size = pool.group_size();
  for (int step = 0; step < steps; ++step) {
    Position position;
    for (int g = 0; g < config.num_groups; ++g) {
      std::vector<std::int32_t> actions;
      actions.reserve(static_cast<std::size_t>(size));
      for (int i = 0; i < size; ++i) actions.push_back((step * 7 + g * size + i) % 2);
      pool.Send(g, actions);
    }
    for (int g = 0; g < config.num_groups; ++g) position = Wait(pool, g);
    const StepArrays& arrays = pool.arrays();
    for (int i = 0; i < kEnvs; ++i) {
      const std::size_t at =
          (static_cast<std::size_t>(position.slab) * (config.num_steps + 1) +
           position.slot) *
              kEnvs +
          static_cast<std::size_t>(i);
      seen.insert(
          seen.end(),
          {static_cast<double>(arrays.Get<std::uint8_t>("obs")[at * kObsBytes]),
           static_cast<double>(arrays.Get<float>("reward")[at]),
           static_cast<double>(arrays.Get<bool>("terminated")[at]),
           static_cast<double>(arrays.Get<bool>("truncated")[at]),
           static_cast<double>(arrays.Get<bool>("is_first")[at]),
           static_cast<double>(arrays.Get<float>("episode_shaped_return")[at]),
           static_cast<double>(arrays.Get<std::int32_t>("episode_length")[at])});
    }
  }
  return seen;
}

void TestTheSameWhateverTheThreads() {
  const std::vector<double> expected = Rollout(Config(1, 1), 40);
  CHECK(expected.size() == 40UL * kEnvs * 7);
  for (const int groups : {1, 2, 4}) {
    for (const int workers : {1, 2, 3, 8}) {
      CHECK(Rollout(Config(groups, workers), 40) == expected);
    }
  }
  PoolConfig serial = Config(2, 0);
  serial.serial = true;
  CHECK(Rollout(serial, 40) == expected);
}

// With 5 steps per slab: step 5 is the last of slab 0, step 6 slot 1 of slab 1, whose
// slot 0 repeats it; step 16 is in slab 0 again.
void TestSlabs() {
  EnvPool pool(Config(1, 2), CountingKind({}));
  ResetAll(pool);
  const std::vector<std::int32_t> actions(kEnvs, 0);
  const auto obs = [&](int slab, int slot) {
    return pool.arrays().Get<std::uint8_t>(
        "obs")[(slab * 6 + slot) * kEnvs * kObsBytes];
  };
  for (int step = 1; step <= 16; ++step) {
    pool.Send(0, actions);
    const Position position = Wait(pool, 0);
    CHECK(position.slab == (step - 1) / 5 % 3);
    CHECK(position.slot == (step - 1) % 5 + 1);
    if (step == 6) CHECK(obs(1, 0) == obs(0, 5));
    if (step == 11) CHECK(obs(2, 0) == obs(1, 5));
    if (step == 16) CHECK(obs(0, 0) == obs(2, 5));
  }
  CHECK(reinterpret_cast<std::uintptr_t>(pool.arrays().Get<std::uint8_t>("obs")) % 64 ==
        0);
}

void TestAnErrorReachesTheCaller() {
  for (const bool serial : {false, true}) {
    PoolConfig config = Config(2, 3);
    config.serial = serial;
    EnvPool pool(config, CountingKind({.fail_at = 3}));
    ResetAll(pool);
    const std::vector<std::int32_t> actions(kEnvs / 2, 1);
    for (int step = 1; step <= 5; ++step) {
      pool.Send(0, actions);
      pool.Send(1, actions);
      for (int g = 0; g < 2; ++g) {
        Position position;
        if (step == 3) {
          CHECK_THROWS(pool.Recv(g, kPatience, &position), EnvError, "fails at step 3");
        } else {  // the pool works before and after the failure
          Wait(pool, g);
        }
      }
    }
  }
}

void TestMisuse() {
  EnvPool pool(Config(2, 2), CountingKind({}));
  const std::vector<std::int32_t> actions(kEnvs / 2, 0);
  Position position;
  CHECK_THROWS(pool.Send(0, actions), std::logic_error, "Call reset");
  CHECK_THROWS(pool.Recv(0, kPatience, &position), std::logic_error,
               "Nothing was sent");
  CHECK_THROWS(pool.SendReset(2), std::invalid_argument, "there are 2");
  CHECK_THROWS(pool.SendReset(-1), std::invalid_argument, "Group -1");
  ResetAll(pool);
  const std::vector<std::int32_t> wrong = {0, 0, 0, 0, 2, 0};
  CHECK_THROWS(pool.Send(0, wrong), std::invalid_argument,
               "index 2 of environment 4 is outside head 0");
  const std::vector<std::int32_t> few = {0};
  CHECK_THROWS(pool.Send(0, few), std::invalid_argument, "got 1 values");
  pool.Send(0, actions);
  CHECK_THROWS(pool.Send(0, actions), std::logic_error, "already");
  CHECK_THROWS(pool.SendReset(0), std::logic_error, "still stepping");
  Wait(pool, 0);
  pool.Close();
  pool.Close();
  CHECK_THROWS(pool.Send(0, actions), std::logic_error, "closed");
  CHECK(pool.envs().empty());
}

void TestClosingDuringWork() {
  const auto begun = std::chrono::steady_clock::now();
  {
    std::atomic<int> receiving = 0, closing = 0;
    EnvKind kind = CountingKind({});
    kind.make = [](int, std::uint32_t) { return std::make_unique<StuckEnv>(); };
    kind.on_stall = [&](Stall stall) {
      ++(stall == Stall::kReceiving ? receiving : closing);
    };
    EnvPool pool(Config(2, 2), kind);
    pool.SendReset(0);
    pool.SendReset(1);
    Position position;
    CHECK(!pool.Recv(0, milliseconds(50), &position));
    CHECK(receiving == 1 && closing == 0);
    pool.Close();
    CHECK_THROWS(pool.Recv(0, kPatience, &position), std::logic_error, "closed");
  }
  // And by the destructor, at once after a send.
  for (int i = 0; i < 100; ++i) {
    EnvPool pool(Config(4, 3), CountingKind({}));
    for (int g = 0; g < 4; ++g) pool.SendReset(g);
  }
  CHECK(std::chrono::steady_clock::now() - begun < std::chrono::seconds(20));
}

// A thread for each group, all sending and receiving at once.
void TestManyThreads() {
  constexpr int kSteps = 2000;
  PoolConfig config = Config(4, 4);
  EnvPool pool(config, CountingKind({}));
  ResetAll(pool);
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int g = 0; g < 4; ++g) {
    threads.emplace_back([&, g] {
      const int size = pool.group_size();
      const std::vector<std::int32_t> actions(static_cast<std::size_t>(size), 1);
      for (int step = 1; step <= kSteps; ++step) {
        pool.Send(g, actions);
        Position position;
        if (!pool.Recv(g, kPatience, &position)) ++wrong;
        const std::size_t at =
            (static_cast<std::size_t>(position.slab) * (config.num_steps + 1) +
             position.slot) *
                kEnvs +
            static_cast<std::size_t>(g * size);
        // Episodes of 10 steps: the reward is the step's number plus the action.
        if (pool.arrays().Get<float>("reward")[at] !=
            static_cast<float>((step - 1) % 10 + 2)) {
          ++wrong;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}

void TestSeeds() {
  std::vector<std::uint32_t> seeds;
  seeds.reserve(100);
  for (int i = 0; i < 100; ++i) seeds.push_back(EnvSeed(0, i));
  for (int i = 0; i < 100; ++i) {
    for (int j = 0; j < i; ++j) CHECK(seeds[i] != seeds[j]);
  }
  CHECK(EnvSeed(1, 0) != EnvSeed(0, 1));
  PoolConfig config = Config(1, 1);
  config.env_seeds = std::vector<std::uint32_t>(kEnvs, 9);
  const EnvPool pool(config, CountingKind({}));
  CHECK(pool.seeds() == config.env_seeds);
}

// The counting environment's observations show its seed: a reset after some steps shows
// the number of steps plus the seed; a reset after seeding shows only the new seed.
void TestSeedingAnew() {
  PoolConfig config = Config(2, 2);
  config.env_seeds = std::vector<std::uint32_t>(kEnvs, 9);
  EnvPool pool(config, CountingKind({}));
  ResetAll(pool);
  const std::vector<std::int32_t> actions(kEnvs / 2, 0);
  pool.Send(0, actions);
  CHECK_THROWS(pool.Seed(0, 5), std::logic_error, "still stepping");
  CHECK_THROWS(pool.Seed(kEnvs, 5), std::invalid_argument, "does not exist");
  Wait(pool, 0);
  pool.Seed(1, 50);
  CHECK(pool.seeds()[0] == 9 && pool.seeds()[1] == 50);
  ResetAll(pool);
  const std::uint8_t* obs = pool.arrays().Get<std::uint8_t>("obs");
  CHECK(obs[0] == 1 + 9 && obs[kObsBytes] == 50);
}

}  // namespace
}  // namespace jaxfactory

int main() {
  jaxfactory::TestTheSameWhateverTheThreads();
  jaxfactory::TestSlabs();
  jaxfactory::TestAnErrorReachesTheCaller();
  jaxfactory::TestMisuse();
  jaxfactory::TestClosingDuringWork();
  jaxfactory::TestManyThreads();
  jaxfactory::TestSeeds();
  jaxfactory::TestSeedingAnew();
}
