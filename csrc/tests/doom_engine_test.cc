// What an engine is and is not believed, against a program that speaks its protocol.
#include "doom_engine.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "check.h"
#include "doom_env.h"
#include "doom_player.h"
#include "engine_names.h"
#include "engine_process.h"
#include "worker_pool.h"

namespace jaxfactory {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

std::string fake_engine;  // NOLINT: set once, in main

EngineConfig Attack(const std::string& name) {
  EngineConfig config;
  config.executable = fake_engine;
  config.arguments = {"-attack", name};
  config.start_timeout = config.timeout = 5;
  return config;
}

DoomConfig Game(const std::string& attack) {
  DoomConfig config;
  config.engine = Attack(attack);
  config.buttons = {0};
  config.heads = {{{}, {{0, 1.0}}}};
  config.restart_failed = false;
  return config;
}

void WaitFor(DoomEngine& engine) {
  while (!engine.Poll()) {
  }
}

// The names of an engine that are in /dev/shm; others may be running on this machine.
std::set<std::string> Names(const std::string& id) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm")) {
    const std::string name = entry.path().filename();
    if (name.ends_with(id)) names.insert(name);
  }
  return names;
}

void Attach(const std::string& attack) {
  const EngineConfig config = Attack(attack);
  std::string id;
  try {
    DoomEngine engine(config, 1);
    id = engine.id();
    WaitFor(engine);
  } catch (const EngineError&) {
    if (attack != "stranger") {
      CHECK(Names(id).empty());
    } else {  // it is not ours to remove
      CHECK(Names(id) == std::set<std::string>{kSegmentName + id});
      unlink(("/dev/shm/" + (kSegmentName + id)).c_str());
    }
    throw;
  }
}

// Runs in a process of its own; returns its status.
int InChild(const std::function<void()>& job) {
  const pid_t child = fork();
  if (child == 0) {
    job();
    _exit(0);
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child);
  return status;
}

void TestAnHonestEngine() {
  const EngineConfig config = Attack("none");
  DoomEngine engine(config, 1);
  WaitFor(engine);
  CHECK(engine.region_size(protocol::kScreenRegion) == 160 * 120 * 3);
  CHECK(engine.region_size(protocol::kDepthRegion) == 0);
  engine.Send(protocol::kTic);
  WaitFor(engine);
}

void TestSegmentsThatAreRefused() {
  CHECK_THROWS(Attach("others write"), EngineError, "can be written by other users");
  CHECK_THROWS(Attach("group writes"), EngineError, "can be written by other users");
  CHECK_THROWS(Attach("too small"), EngineError, "has 100 bytes");
  CHECK_THROWS(Attach("empty"), EngineError, "has 0 bytes");
  CHECK_THROWS(Attach("too large"), EngineError, "has 1099511627776 bytes");
  CHECK_THROWS(Attach("link"), EngineError, "cannot be opened");
  CHECK_THROWS(Attach("pipe"), EngineError, "is no ordinary file");
  CHECK_THROWS(Attach("nothing"), EngineError, "made no shared memory");
  CHECK_THROWS(Attach("version"), EngineError, "version ?[2J??,");
  CHECK_THROWS(Attach("segment size"), EngineError, "says it is version 1.3.2");
  for (const char* attack :
       {"screen outside", "screen far outside", "depth too long", "input outside"}) {
    CHECK_THROWS(Attach(attack), EngineError, "a region that ends outside of it");
  }
  for (const char* attack :
       {"input in the state", "input not aligned", "state elsewhere"}) {
    CHECK_THROWS(Attach(attack), EngineError, "a region where none can be");
  }
  CHECK_THROWS(Attach("an error"), EngineError, "reports: no??[31m map ??");
  if (geteuid() == 0) {
    CHECK_THROWS(Attach("stranger"), EngineError, "belongs to user 65534");
  }
}

void TestBuffersThatAreTooSmall() {
  for (const char* attack : {"screen too small", "no depth"}) {
    DoomConfig config = Game(attack);
    config.frame.depth = std::string(attack) == "no depth";
    DoomPlayer player(config);
    player.Start(1, {});
    WaitFor(player.engine());
    CHECK_THROWS(player.Ready(), EngineError, "lacks a buffer");
  }
}

void TestOffsetsAreNotReadAgain() {
  const EngineConfig config = Attack("moves later");
  DoomEngine engine(config, 1);
  WaitFor(engine);
  const std::uint8_t* screen = engine.region(protocol::kScreenRegion);
  engine.Send(protocol::kTic);
  WaitFor(engine);
  CHECK(engine.state().region_offset[protocol::kScreenRegion] > 1U << 30);
  CHECK(engine.region(protocol::kScreenRegion) == screen);
  CHECK(screen[160 * 120 * 3 - 1] == 0);
}

// One row's results.
struct Row {
  explicit Row(const DoomConfig& config)
      : obs(config.frame.bytes()), measurements(config.measurements.size() + 1) {
    slot.previous_obs = slot.obs = slot.final_obs = obs.data();
    slot.previous_measurements = slot.measurements = slot.final_measurements =
        measurements.data();
    slot.reward = slot.episode_shaped_return = slot.episode_raw_return = floats;
    slot.raw_reward = slot.variables = doubles;
    slot.terminated = slot.truncated = slot.is_first = slot.restarted = flags;
    slot.episode_length = slot.frags = slot.place = numbers;
  }
  std::vector<std::uint8_t> obs;
  std::vector<float> measurements;
  float floats[1] = {};
  double doubles[1] = {};
  std::uint8_t flags[1] = {};
  std::int32_t numbers[1] = {};
  StepSlot slot;
};

// An engine whose numbers and flags are all as large as can be.
void TestAnEngineThatShouts() {
  DoomConfig config = Game("shouts");
  config.queued_tics = true;
  config.engine.timeout = 1;
  // A non-delta button has no largest value, and must not be given one elsewhere.
  config.max_values = {{0, 1e9}};
  Row row(config);
  DoomEnv env(config, 1);
  env.BeginReset({&row.slot, 1});
  while (!env.Advance()) {
  }
  const std::int32_t action = 1;
  for (int i = 0; i < 3; ++i) {
    env.BeginStep(&action, {&row.slot, 1});
    try {
      while (!env.Advance()) {
      }
    } catch (const EngineError&) {
      break;  // its levels never begin
    }
    CHECK(row.flags[0] <= 1);
  }
}

void TestNames() {
  std::string id;
  {
    const EngineConfig config = Attack("silent");
    const DoomEngine engine(config, 1);
    id = engine.id();
    const std::set<std::string> made = Names(id);
    CHECK((made == std::set<std::string>{kToEngineName + id, kFromEngineName + id}));
    for (const std::string& name : made) {
      struct stat info{};
      CHECK(stat(("/dev/shm/" + name).c_str(), &info) == 0);
      CHECK((info.st_mode & 0777) == 0600);
    }
    // They are in use, whoever looks.
    RemoveStaleNames();
    CHECK(InChild([] { RemoveStaleNames(); }) == 0);
    CHECK(Names(id) == made);
  }
  CHECK(Names(id).empty());
  CHECK(RandomInstanceId().size() == 10 && RandomInstanceId() != RandomInstanceId());
}

void TestNamesOfAKilledProcess() {
  int ends[2];
  CHECK(pipe(ends) == 0);
  const EngineConfig config = Attack("silent");
  const int status = InChild([&] {
    const DoomEngine engine(config, 1);
    const std::string& id = engine.id();
    // As an engine would that is about to answer.
    std::fclose(std::fopen(("/dev/shm/" + (kSegmentName + id)).c_str(), "w"));
    CHECK(write(ends[1], id.data(), id.size()) == 10);
    raise(SIGKILL);
  });
  CHECK(WIFSIGNALED(status));
  std::string id(10, ' ');
  CHECK(read(ends[0], id.data(), id.size()) == 10);
  close(ends[0]);
  close(ends[1]);
  // Under a sanitizer the engine's process holds the lock until it has gone too.
  for (int i = 0; i < 500 && !Names(id).empty(); ++i) {
    RemoveStaleNames();
    usleep(10000);
  }
  CHECK(Names(id).empty());
}

// However few descriptors there are, and whichever engine of a match they are too few
// for: a sentence each time.
void TestAMatchThatStartsHalf() {
  constexpr int kAllStarted = 4;
  DoomConfig config = Game("silent");
  config.match.agents = 2;
  config.engine.start_timeout = 0.01;
  for (const bool restart : {false, true}) {
    config.restart_failed = restart;
    int status = 0;
    for (rlim_t limit = 4; status == 0; ++limit) {
      status = InChild([&] {
        const rlimit few{limit, limit};
        setrlimit(RLIMIT_NOFILE, &few);
        Row one(config), two(config);
        const StepSlot slots[] = {one.slot, two.slot};
        DoomEnv env(config, 1);
        std::string said;
        const auto failed = [&](auto&& begin) {
          try {
            begin();
            while (!env.Advance()) {
            }
          } catch (const EngineError& error) {
            said = error.what();
            return true;
          }
          return false;
        };
        const std::int32_t actions[] = {0, 0};
        CHECK(failed([&] { env.BeginReset(slots); }));
        const bool started = said.find("did not answer") != std::string::npos;
        CHECK(failed([&] { env.BeginStep(actions, slots); }));
        CHECK(failed([&] { env.BeginReset(slots); }));
        _exit(started ? kAllStarted : 0);
      });
    }
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == kAllStarted);
  }
}

void TestThreadsThatCannotStart() {
  if (kSanitized) return;  // they need more memory than the limit leaves
  const int status = InChild([] {
    const rlimit little{std::size_t{100} << 20, std::size_t{100} << 20};
    setrlimit(RLIMIT_AS, &little);
    sigset_t before, after;
    pthread_sigmask(SIG_SETMASK, nullptr, &before);
    CHECK_THROWS(WorkerPool(100, false, false), EngineError, "of the 100 worker thr");
    pthread_sigmask(SIG_SETMASK, nullptr, &after);
    for (int number = 1; number < NSIG; ++number) {
      CHECK(sigismember(&before, number) == sigismember(&after, number));
    }
  });
  CHECK(status == 0);
}

void TestAPortThatIsTaken() {
  EngineConfig config = Attack("port taken");
  config.preload = "/etc/passwd";  // which the loader leaves, as it is no library
  config.environment = {"FAKE_LIBRARY=1"};
  DoomEngine engine(config, 1);
  CHECK_THROWS(WaitFor(engine), EngineError, "could not bind its UDP port");
}

void TestALibraryThatIsNotLoaded() {
  EngineConfig config = Attack("none");
  config.preload = "/etc/group";  // another one than above: what is loaded is kept
  CHECK_THROWS(DoomEngine(config, 1), EngineError, "did not load");
  // One that is loaded when asked, and then is not.
  config.environment = {"FAKE_LIBRARY=1"};
  DoomEngine engine(config, 1);
  CHECK_THROWS(WaitFor(engine), EngineError, "has not loaded");
  config.preload = "/no/such/library.so";
  CHECK_THROWS(DoomEngine(config, 1), EngineError, "Cannot read /no/such/library.so");
}

// As when jaxfactory is installed again while a training runs.
void TestALibraryWhoseFileIsGone() {
  std::string path = "/tmp/jaxfactory-library-XXXXXX";
  const int fd = mkstemp(path.data());
  CHECK(fd >= 0 && ftruncate(fd, 4096) == 0);
  void* memory = mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
  CHECK(memory != MAP_FAILED && HasLoaded(getpid(), path));
  unlink(path.c_str());
  CHECK(HasLoaded(getpid(), path));
  munmap(memory, 4096);
  CHECK(!HasLoaded(getpid(), path));
  close(fd);
}

}  // namespace
}  // namespace jaxfactory

int main(int, char** argv) {
  jaxfactory::fake_engine =
      std::filesystem::absolute(argv[0]).parent_path() / "fake_engine";
  jaxfactory::TestThreadsThatCannotStart();
  jaxfactory::TestNames();
  jaxfactory::TestNamesOfAKilledProcess();
  jaxfactory::TestAMatchThatStartsHalf();
  jaxfactory::TestAnHonestEngine();
  jaxfactory::TestSegmentsThatAreRefused();
  jaxfactory::TestBuffersThatAreTooSmall();
  jaxfactory::TestOffsetsAreNotReadAgain();
  jaxfactory::TestAnEngineThatShouts();
  jaxfactory::TestAPortThatIsTaken();
  jaxfactory::TestALibraryThatIsNotLoaded();
  jaxfactory::TestALibraryWhoseFileIsGone();
}
