// Start and cleanup of engines, with the fake engine.
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <set>
#include <string>

#include "doom/doom_env.h"
#include "doom/engine/doom_engine.h"
#include "doom/engine/engine_names.h"
#include "doom/engine/engine_process.h"
#include "doom/engine/fork_server.h"
#include "pool/worker_pool.h"
#include "tests/check.h"
#include "tests/fake_game.h"

namespace jaxfactory {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

// Runs a function in a child process; returns its status.
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

void TestThreadsThatCannotStart() {
  if (kSanitized) return;  // sanitizers need more memory than the limit allows
  const int status = InChild([] {
    const rlimit little{std::size_t{100} << 20, std::size_t{100} << 20};
    setrlimit(RLIMIT_AS, &little);
    sigset_t before, after;
    pthread_sigmask(SIG_SETMASK, nullptr, &before);
    CHECK_THROWS(WorkerPool(100, false, false), EnvError, "of the 100 worker thr");
    pthread_sigmask(SIG_SETMASK, nullptr, &after);
    for (int number = 1; number < NSIG; ++number) {
      CHECK(sigismember(&before, number) == sigismember(&after, number));
    }
  });
  CHECK(status == 0);
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
    // They are in use, so no process removes them.
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
    // Like an engine that is about to reply.
    std::FILE* const name =
        std::fopen(("/dev/shm/" + (kSegmentName + id)).c_str(), "w");
    CHECK(name != nullptr);
    std::fclose(name);
    CHECK(write(ends[1], id.data(), id.size()) == 10);
    raise(SIGKILL);
  });
  CHECK(WIFSIGNALED(status));
  std::string id(10, ' ');
  CHECK(read(ends[0], id.data(), id.size()) == 10);
  close(ends[0]);
  close(ends[1]);
  // Under a sanitizer the engine's process also holds the lock until it ends.
  for (int i = 0; i < 500 && !Names(id).empty(); ++i) {
    RemoveStaleNames();
    usleep(10000);
  }
  CHECK(Names(id).empty());
}

// Running out of descriptors, at any engine of a match, raises an error message each
// time.
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

void TestAPortThatIsTaken() {
  EngineConfig config = Attack("port taken");
  config.preload = "/etc/passwd";  // not a library, so the loader skips it
  config.environment = {"FAKE_LIBRARY=1"};
  DoomEngine engine(config, 1);
  CHECK_THROWS(WaitFor(engine), EngineError, "could not bind its UDP port");
}

void TestALibraryThatIsNotLoaded() {
  EngineConfig config = Attack("none");
  config.preload = "/etc/group";  // not the one above: successful checks are cached
  CHECK_THROWS(DoomEngine(config, 1), EngineError, "did not load");
  // A library that loads in the check, but not in the engine.
  config.environment = {"FAKE_LIBRARY=1"};
  DoomEngine engine(config, 1);
  CHECK_THROWS(WaitFor(engine), EngineError, "has not loaded");
  config.preload = "/no/such/library.so";
  CHECK_THROWS(DoomEngine(config, 1), EngineError, "Cannot read /no/such/library.so");
}

// As when jaxfactory is reinstalled during a training run.
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

// What the third and all later starts give; the first two do not use the server.
pid_t StartByServer(const std::string& attack, pid_t named) {
  EngineConfig config = Attack(attack);
  config.fork_library = "/etc/passwd";  // not a library, so the loader skips it
  config.start_timeout = config.timeout = 0.5;
  ForkServer server(config);
  const std::string id = RandomInstanceId();
  const auto seed = static_cast<std::uint32_t>(named);
  for (int i = 0; i < 2; ++i) CHECK(server.Start(id, seed) == ForkServer::kDirectly);
  pid_t started = ForkServer::kNotYet;
  while (started == ForkServer::kNotYet) started = server.Start(id, seed);
  if (started == ForkServer::kDirectly) {
    CHECK(server.Start(id, seed) == ForkServer::kDirectly);
  }
  return started;
}

// Whatever a server replies, only its children are taken for engines.
void TestAServerThatIsCompromised() {
  const pid_t child = fork();
  if (child == 0) {
    while (true) pause();
  }
  for (const pid_t named : {child, getpid(), getppid(), 1, 0, -1, -child}) {
    CHECK(StartByServer("server lies", named) == ForkServer::kDirectly);
  }
  for (const char* attack : {"server not ready", "server names itself", "server ends",
                             "server hangs", "server stops short", "silent"}) {
    CHECK(StartByServer(attack, child) == ForkServer::kDirectly);
  }
  int status = 0;
  CHECK(waitpid(child, &status, WNOHANG) == 0);
  EndProcess(child);
}

// A server that does not answer may have made an engine of the id that it was asked
// for.
void TestAnIdIsNotUsedAgainAfterAServerThatHangs() {
  EngineConfig config = Attack("server hangs");
  config.fork_library = "/etc/passwd";
  config.timeout = 0.5;
  ForkServer server(config);
  for (int i = 0; i < 2; ++i) server.Start(RandomInstanceId(), 1);
  DoomEngine engine(config, 1, {.server = &server});
  std::set<std::string> ids = {engine.id()};
  while (engine.pid() == 0) {
    engine.Poll();
    ids.insert(engine.id());
  }
  ids.erase("");  // until the server was ready
  CHECK(ids.size() == 2);
  ids.erase(engine.id());
  CHECK(Names(*ids.begin()).empty());
}

}  // namespace
}  // namespace jaxfactory

int main(int, char** argv) {
  jaxfactory::FindFakeEngine(argv[0]);
  jaxfactory::TestThreadsThatCannotStart();
  jaxfactory::TestNames();
  jaxfactory::TestNamesOfAKilledProcess();
  jaxfactory::TestAMatchThatStartsHalf();
  jaxfactory::TestAPortThatIsTaken();
  jaxfactory::TestALibraryThatIsNotLoaded();
  jaxfactory::TestALibraryWhoseFileIsGone();
  jaxfactory::TestAServerThatIsCompromised();
  jaxfactory::TestAnIdIsNotUsedAgainAfterAServerThatHangs();
}
