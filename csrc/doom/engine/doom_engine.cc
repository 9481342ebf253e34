#include "doom/engine/doom_engine.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "doom/engine/engine_process.h"
#include "doom/engine/engine_queue.h"
#include "doom/engine/game_files.h"
#include "doom/engine/hung_engines.h"
#include "doom/patches/screen_loop.h"
#include "pool/worker_pool.h"

namespace jaxfactory {
namespace {

namespace bip = boost::interprocess;

// Duration of one wait in `Poll`: long enough that an idle pool sleeps, short enough
// that a worker's other engines keep running while one hangs.
constexpr std::chrono::milliseconds kSlice{20};
constexpr std::chrono::milliseconds kNotAtAll{0};

// The most attempts to find an id that is not in use and that no other process removes
// as stale.
constexpr int kIdTries = 5;

// How the process ended, as part of an error message.
std::string ExitText(int status) {
  if (WIFSIGNALED(status)) {
    const int signal = WTERMSIG(status);
    std::string text = "was killed by signal " + std::to_string(signal);
    if (signal == SIGBUS) text += " (/dev/shm was probably full; make it larger)";
    return text;
  }
  return "ended with exit status " + std::to_string(WEXITSTATUS(status));
}

}  // namespace

DoomEngine::DoomEngine(const EngineConfig& config, std::uint32_t game_seed,
                       EngineRole role)
    : config_(config), game_seed_(game_seed), role_(std::move(role)) {
  try {
    Spawn();
  } catch (...) {
    End();
    throw;
  }
}

DoomEngine::~DoomEngine() { End(); }

void DoomEngine::End() {
  if (pid_ > 0) EndProcess(pid_);
  RemoveNames();
}

void DoomEngine::MakeQueues() {
  RequireSharedMemory();
  try {
    Open();
  } catch (const bip::interprocess_exception& error) {
    throw EngineError(std::string("Cannot create an engine's message queues in shared "
                                  "memory (") +
                      error.what() + "); is /dev/shm mounted, writable and not full?");
  }
}

void DoomEngine::Open() {
  for (int i = 0; i < kIdTries; ++i) {
    id_ = RandomInstanceId();
    try {
      to_engine_ = std::make_unique<EngineQueue>(kToEngineName + id_);
      if (lock_.Take(id_)) {
        from_engine_ = std::make_unique<EngineQueue>(kFromEngineName + id_);
        return;
      }
    } catch (const bip::interprocess_exception& error) {
      if (error.get_error_code() != bip::already_exists_error) throw;
    }
    DropQueues();
  }
  throw EngineError(
      "Another program uses or removes the names of engines in /dev/shm; find "
      "out which one writes there.");
}

void DoomEngine::DropQueues() {
  RemoveNames();
  from_engine_.reset();
  to_engine_.reset();
}

// Only the names that this engine created; its queue last, see `RemoveStaleNames`.
void DoomEngine::RemoveNames() {
  if (from_engine_) from_engine_->Remove();
  if (spawned_) RemoveOwnName(kSegmentName + id_);
  if (to_engine_) to_engine_->Remove();
  lock_.Release();
}

// Returns false if the server that starts the engine is not ready yet. Until then there
// are no queues: a process that is killed cannot remove their names.
bool DoomEngine::Spawn() {
  RequireFiles(config_.arguments);
  if (role_.server != nullptr && !role_.server->Ready()) return false;
  if (!from_engine_) MakeQueues();
  pid_t started = ForkServer::kDirectly;
  if (role_.server != nullptr) started = role_.server->Start(id_, game_seed_);
  if (started == ForkServer::kNotYet) {
    // If the server has failed, it may have made an engine of this id all the same.
    DropQueues();
    return false;
  }
  pid_ = started == ForkServer::kDirectly ? StartDirectly() : started;
  spawned_ = true;
  if (role_.core >= 0) {
    RunOn(pid_, {role_.core});
  } else if (started != ForkServer::kDirectly) {
    RunOn(pid_, UsableCores());  // those of this thread, not of the server's
  }
  limit_.Restart(config_.start_timeout);
  return true;
}

pid_t DoomEngine::StartDirectly() const {
  std::vector<std::string> words = {config_.executable};
  words.insert(words.end(), config_.arguments.begin(), config_.arguments.end());
  words.insert(words.end(), role_.arguments.begin(), role_.arguments.end());
  words.insert(words.end(),
               {"+viz_instance_id", id_, "-rngseed", std::to_string(game_seed_)});
  std::vector<std::string> environment = config_.environment;
  environment.insert(environment.end(), role_.environment.begin(),
                     role_.environment.end());
  if (!config_.preload.empty()) RequireLibrary(config_);
  return StartProcess(config_, std::move(words), std::move(environment),
                      {.library = config_.preload});
}

void DoomEngine::Attach() {
  if (!config_.preload.empty() && !HasLoaded(pid_, config_.preload)) {
    throw EngineError("An engine of a match has not loaded " + config_.preload +
                      ", so it would listen on all network addresses; mount /proc "
                      "and start again.");
  }
  segment_.Open(kSegmentName + id_);
  RemoveNames();  // both sides are attached, so the names are no longer needed
  tuned_ = ReplaceScreenLoop(pid_, config_.executable, config_.screen_loop);
}

void DoomEngine::Send(protocol::Code code) {
  protocol::Message message{};
  message.code = code;
  limit_.Restart(config_.timeout);
  try {
    to_engine_->Send(message);
  } catch (const bip::interprocess_exception& error) {
    throw EngineError(std::string("Cannot send to an engine: ") + error.what());
  }
}

void DoomEngine::SendCommand(const std::string& command) {
  if (command.size() >= protocol::kCommandLength) {
    throw EngineError("The engine's command is longer than 127 characters: " + command);
  }
  protocol::Message message{};
  message.code = protocol::kCommand;
  command.copy(message.command, command.size());
  try {
    to_engine_->Send(message);
  } catch (const bip::interprocess_exception& error) {
    throw EngineError(std::string("Cannot send to an engine: ") + error.what());
  }
}

bool DoomEngine::Poll(Wait wait) {
  if (!spawned_ && !Spawn()) return false;
  protocol::Message message{};
  bool received = false;
  try {
    const Receiving receiving(pid_, limit_.seconds());
    received = from_engine_->Receive(message, wait == Wait::kNot ? kNotAtAll : kSlice);
  } catch (const bip::interprocess_exception&) {
    // The queue's lock was not released in time: its holder died or hangs.
    CheckAlive();
    throw EngineError("An engine stopped while it held its message queue's lock.");
  }
  if (!received) {
    CheckAlive();
    return false;
  }
  switch (message.code) {
    case protocol::kDone:
      if (!segment_.open()) Attach();
      return true;
    case protocol::kError:
      throw EngineError("The Doom engine reports: " +
                        Printable(message.command, sizeof(message.command)));
    default:
      throw EngineError("The Doom engine closed itself unexpectedly.");
  }
}

void DoomEngine::CheckRuns() {
  if (!spawned_) return;
  int status = 0;
  const pid_t ended = waitpid(pid_, &status, WNOHANG);
  if (ended < 0 && errno == ECHILD) {  // other code in this process has waited for it
    pid_ = -1;
    throw EngineError("The Doom engine ended.");
  }
  if (ended == pid_) {
    const std::string who = "The Doom engine (process " + std::to_string(pid_) + ") ";
    pid_ = -1;
    throw EngineError(who + ExitReason(status));
  }
}

void DoomEngine::CheckAlive() {
  CheckRuns();
  if (!spawned_ || !limit_.Exceeded()) return;
  std::string seconds = std::to_string(limit_.seconds());
  seconds.resize(seconds.find('.') + 2);
  throw EngineError("The Doom engine (process " + std::to_string(pid_) +
                    ") did not answer within " + seconds + " s.");
}

std::string DoomEngine::ExitReason(int status) const {
  if (segment_.open()) return ExitText(status) + ".";
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
  if (code == kNotConfined) {
    return "could not be confined to its own files; set JAXFACTORY_ENGINE_SANDBOX=off "
           "to run engines without a sandbox.";
  }
  if (code == kPortTaken && !config_.preload.empty()) {
    return "could not bind its UDP port on 127.0.0.1, which another program has bound "
           "in the meantime; start again.";
  }
  std::string text = ExitText(status) + " while it started; check that " +
                     config_.executable +
                     " runs on this machine and that memory is left";
  if (config_.confined) {
    text += ", and whether it starts with JAXFACTORY_ENGINE_SANDBOX=off";
  }
  return text + ".";
}

}  // namespace jaxfactory
