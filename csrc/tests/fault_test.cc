// Faults of the machine: pauses, a full /dev/shm, forks, locks that nobody releases.
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "doom/doom_env.h"
#include "doom/engine/abandoned_lock.h"
#include "doom/engine/doom_engine.h"
#include "doom/engine/hung_engines.h"
#include "pool/counting_env.h"
#include "pool/env_pool.h"
#include "tests/check.h"
#include "tests/fake_game.h"

namespace jaxfactory {
namespace {

using std::chrono::milliseconds;

constexpr int kSkipped = 9;
// Measured where the engine of ViZDoom 1.3.2 reads and writes them, on 64-bit Linux.
constexpr std::size_t kQueueBytes = 10448;

// Runs a function in a child process; returns its status.
int InChild(const std::function<void()>& job) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(30);
    job();
    _exit(0);
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child);
  return status;
}

// An engine that cannot start, and three in its place.
void TestTries() {
  const std::string file =
      "/tmp/jaxfactory-starts-" + std::to_string(getpid()) + ".txt";
  DoomConfig config = Game("none");
  config.restart_failed = true;
  config.engine.executable = "/bin/sh";
  config.engine.arguments = {"-c", "echo start >> " + file + "; exit 3"};
  const Row row(config);
  DoomEnv env(config, 1);
  const auto reset = [&] {
    env.BeginReset({&row.slot, 1});
    while (!env.Advance()) {
    }
  };
  CHECK_THROWS(reset(), EngineError, "exit status 3");
  std::ifstream starts(file);
  int lines = 0;
  for (std::string line; std::getline(starts, line);) ++lines;
  CHECK(lines == 4);
  std::filesystem::remove(file);
}

// The whole group of processes is stopped for longer than an engine may take: when they
// run again, the engine has had no time yet.
void TestAPause() {
  EngineConfig config = Attack("none");
  config.timeout = 1;
  DoomEngine engine(config, 1);
  WaitFor(engine);
  kill(engine.pid(), SIGSTOP);
  engine.Send(protocol::kTic);
  CHECK(!engine.Poll());
  std::this_thread::sleep_for(milliseconds(1500));
  CHECK(!engine.Poll());  // where it waited until the deadline, it is past now
  kill(engine.pid(), SIGCONT);
  WaitFor(engine);
  // But one that hangs alone is noticed.
  kill(engine.pid(), SIGSTOP);
  engine.Send(protocol::kTic);
  CHECK_THROWS(WaitFor(engine), EngineError, "did not answer within 1.0 s");
}

// A thread that waited for an engine's lock at the time of a pause.
void TestAPauseOfTheWatch() {
  const auto hangs = [](int calls, milliseconds step) {
    const pid_t engine = fork();
    if (engine == 0) {
      while (true) pause();
    }
    {
      const Receiving receiving(engine, 1.0);
      for (int i = 0; i < calls; ++i) {
        KillHungEngines(Patience::kUntilLimit);
        std::this_thread::sleep_for(step);
      }
      KillHungEngines(Patience::kUntilLimit);
    }
    std::this_thread::sleep_for(milliseconds(50));
    const bool killed = waitpid(engine, nullptr, WNOHANG) == engine;
    kill(engine, SIGKILL);
    if (!killed) waitpid(engine, nullptr, 0);
    return killed;
  };
  CHECK(!hangs(1, milliseconds(1500)));
  CHECK(hangs(15, milliseconds(100)));
}

// Engines that die while they hold a lock that no death releases: one is killed when it
// has hung for its limit, the other is dead already.
void TestALockInsideACondition() {
  CHECK(!ReleaseAbandonedLock(getpid()));
  for (const double timeout : {1.0, 600.0}) {
    EngineConfig config = Attack("stops with a lock");
    config.timeout = timeout;
    DoomEngine engine(config, 1);
    WaitFor(engine);
    std::atomic<bool> ended = false;
    std::thread watch([&] {
      while (!ended) {
        KillHungEngines(Patience::kUntilLimit);
        std::this_thread::sleep_for(milliseconds(50));
      }
    });
    engine.Send(protocol::kTic);
    if (timeout > 1.0) {
      std::this_thread::sleep_for(milliseconds(300));
      kill(engine.pid(), SIGKILL);
    }
    CHECK_THROWS(WaitFor(engine), EngineError, "was killed by signal 9");
    ended = true;
    watch.join();
  }
}

// A forked process watches over its own engines, and not over its parent's.
void TestAForkKillsNobody() {
  const pid_t engine = fork();
  if (engine == 0) {
    while (true) pause();
  }
  std::atomic<bool> waits = false, ended = false;
  std::thread waiter([&] {
    const Receiving receiving(engine, 1.0);
    waits = true;
    while (!ended) std::this_thread::sleep_for(milliseconds(1));
  });
  while (!waits) std::this_thread::sleep_for(milliseconds(1));
  CHECK(InChild([] {
          for (int i = 0; i < 15; ++i) {
            KillHungEngines(Patience::kNone);
            std::this_thread::sleep_for(milliseconds(100));
          }
        }) == 0);
  CHECK(waitpid(engine, nullptr, WNOHANG) == 0);
  ended = true;
  waiter.join();
  kill(engine, SIGKILL);
  waitpid(engine, nullptr, 0);
}

// With a /dev/shm of its own, of this many KB; or exits.
void OwnSharedMemory(int kilobytes) {
  const std::string size = "size=" + std::to_string(kilobytes) + "k";
  if (unshare(CLONE_NEWNS) != 0 ||
      mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      mount("tmpfs", "/dev/shm", "tmpfs", 0, size.c_str()) != 0) {
    _exit(kSkipped);
  }
}

void FillSharedMemory() {
  const int fd = open("/dev/shm/filler", O_WRONLY | O_CREAT, 0600);
  const std::vector<char> block(4096, 'x');
  while (write(fd, block.data(), block.size()) > 0) {
  }
  close(fd);
}

void TestFullSharedMemory() {
  const EngineConfig config = Attack("none");
  const int full = InChild([&] {
    OwnSharedMemory(2048);
    FillSharedMemory();
    CHECK_THROWS(DoomEngine(config, 1), EngineError, "/dev/shm, of 2 MB, is full");
  });
  if (WIFEXITED(full) && WEXITSTATUS(full) == kSkipped) return;  // not permitted
  CHECK(full == 0);
  // Whatever is read of an engine that has started is there.
  CHECK(InChild([&] {
          OwnSharedMemory(4096);
          DoomEngine engine(config, 1);
          WaitFor(engine);
          FillSharedMemory();
          int sum = 0;
          const std::size_t size = engine.region_size(protocol::kScreenRegion);
          for (std::size_t i = 0; i < size; ++i) {
            sum += engine.region(protocol::kScreenRegion)[i];
          }
          engine.input().buttons[0] = 1;
          CHECK(sum == 0 && engine.state().player_damage_taken == 0);
        }) == 0);
  // Its queues still fit, but not its screen.
  CHECK(InChild([&] {
          OwnSharedMemory(2048);
          DoomEngine engine(config, 1);
          kill(engine.pid(), SIGSTOP);
          FillSharedMemory();
          kill(engine.pid(), SIGCONT);
          CHECK_THROWS(WaitFor(engine), EngineError, "/dev/shm");
        }) == 0);
}

PoolConfig Config() {
  PoolConfig config;
  config.num_envs = 4;
  config.num_workers = 2;
  return config;
}

void Reset(EnvPool& pool) {
  Position position;
  pool.SendReset(0);
  while (!pool.Recv(0, milliseconds(100), &position)) {
  }
}

class EndingEnv final : public Env {
 public:
  explicit EndingEnv(std::atomic<int>& ended) : ended_(ended) {}
  ~EndingEnv() override { ++ended_; }
  void Seed(std::uint32_t /*seed*/) override {}
  void BeginReset(std::span<const StepSlot> /*slots*/) override {}
  void BeginStep(const std::int32_t* /*action*/,
                 std::span<const StepSlot> /*slots*/) override {}
  bool Advance() override { return true; }

 private:
  std::atomic<int>& ended_;
};

// The process that inherits a pool neither waits for its threads nor ends its engines.
void TestAForkThatInheritsAPool() {
  std::atomic<int> ended = 0;
  EnvKind kind = CountingKind({});
  kind.make = [&](int, std::uint32_t) { return std::make_unique<EndingEnv>(ended); };
  EnvPool pool(Config(), kind);
  Reset(pool);
  CHECK(InChild([&] {
          CHECK_THROWS(pool.SendReset(0), std::logic_error, "was forked");
          CHECK_THROWS(pool.Send(0, std::vector<std::int32_t>(4, 0)), std::logic_error,
                       "was forked");
          pool.Close();
          pool.Close();
          CHECK(ended == 0);
          CHECK_THROWS(pool.SendReset(0), std::logic_error, "closed");
        }) == 0);
  Reset(pool);
  pool.Close();
  CHECK(ended == 4);
}

// Waits until somebody helps.
class BlockedEnv final : public Env {
 public:
  explicit BlockedEnv(std::atomic<bool>& helped) : helped_(helped) {}
  void Seed(std::uint32_t /*seed*/) override {}
  void BeginReset(std::span<const StepSlot> /*slots*/) override {}
  void BeginStep(const std::int32_t* /*action*/,
                 std::span<const StepSlot> /*slots*/) override {}
  bool Advance() override {
    while (!helped_) std::this_thread::sleep_for(milliseconds(1));
    return true;
  }

 private:
  std::atomic<bool>& helped_;
};

// The caller's thread waits in a serial pool, so another one looks for hung engines.
void TestASerialPoolIsWatched() {
  CHECK(InChild([] {
          std::atomic<bool> helped = false;
          EnvKind kind = CountingKind({});
          kind.make = [&](int, std::uint32_t) {
            return std::make_unique<BlockedEnv>(helped);
          };
          kind.on_stall = [&](Stall) { helped = true; };
          PoolConfig config = Config();
          config.serial = true;
          EnvPool pool(config, kind);
          Reset(pool);
        }) == 0);
}

// Each worker takes the memory of its environments when it first writes to them.
void TestArraysAreNotTouched() {
  const AlignedArray<std::uint8_t> array(64 * 4096);
  std::vector<unsigned char> resident(64);
  CHECK(mincore(array.data(), array.size(), resident.data()) == 0);
  for (const unsigned char page : resident) CHECK((page & 1) == 0);
  CHECK(array.data()[0] == 0 && array.data()[array.size() - 1] == 0);
}

// The queues that the engine's Boost expects.
void TestTheLayoutOfQueues() {
  const EngineConfig config = Attack("silent");
  const DoomEngine engine(config, 1);
  CHECK(Names(engine.id()).size() == 2);
  for (const std::string& name : Names(engine.id())) {
    CHECK(std::filesystem::file_size("/dev/shm/" + name) == kQueueBytes);
  }
}

}  // namespace
}  // namespace jaxfactory

int main(int, char** argv) {
  jaxfactory::FindFakeEngine(argv[0]);
  jaxfactory::TestTries();
  jaxfactory::TestAPause();
  jaxfactory::TestAPauseOfTheWatch();
  jaxfactory::TestALockInsideACondition();
  jaxfactory::TestAForkKillsNobody();
  jaxfactory::TestFullSharedMemory();
  jaxfactory::TestAForkThatInheritsAPool();
  jaxfactory::TestASerialPoolIsWatched();
  jaxfactory::TestArraysAreNotTouched();
  jaxfactory::TestTheLayoutOfQueues();
}
