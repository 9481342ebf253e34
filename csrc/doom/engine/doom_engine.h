// One engine process: start, handshake, requests, shared state.
#ifndef JAXFACTORY_DOOM_ENGINE_DOOM_ENGINE_H_
#define JAXFACTORY_DOOM_ENGINE_DOOM_ENGINE_H_

#include <sys/types.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "doom/engine/engine_config.h"
#include "doom/engine/engine_names.h"
#include "doom/engine/engine_protocol.h"
#include "doom/engine/engine_segment.h"
#include "doom/engine/fork_server.h"
#include "doom/engine/wait_limit.h"

namespace jaxfactory {

class EngineQueue;

// The settings in which the engines of a pool differ.
struct EngineRole {
  std::vector<std::string> arguments;    // after those of the configuration
  std::vector<std::string> environment;  // likewise
  int core = -1;                         // the core to run on; -1 for the caller's
  ForkServer* server = nullptr;          // starts it, if there is one
};

// Owns an engine process, its two message queues and its shared segment. The
// destructor leaves none of them behind. The engine dies with the thread that started
// it, and its names leave /dev/shm as soon as both sides are attached.
class DoomEngine {
 public:
  // Starts the process; `Poll` returns true once it is ready.
  DoomEngine(const EngineConfig& config, std::uint32_t game_seed, EngineRole role = {});
  ~DoomEngine();
  DoomEngine(const DoomEngine&) = delete;
  DoomEngine& operator=(const DoomEngine&) = delete;

  void Send(protocol::Code code);
  void SendCommand(const std::string& command);

  // Waits briefly, or not, for the reply to the last request. Returns false if there is
  // none yet; throws EngineError if the engine reported an error, ended, or exceeded
  // its time-out.
  enum class Wait { kBriefly, kNot };
  bool Poll(Wait wait = Wait::kBriefly);
  // Throws EngineError as `Poll` does, without waiting.
  void CheckAlive();
  // Throws EngineError if the process has ended.
  void CheckRuns();

  // Call the following only once the engine is ready. Do not trust the state: the
  // engine may write anything to it, even while it is read.
  const protocol::GameState& state() const { return segment_.state(); }
  protocol::InputState& input() { return segment_.input(); }
  const std::uint8_t* region(protocol::Region region) const {
    return segment_.region(region);
  }
  std::size_t region_size(protocol::Region region) const {
    return segment_.region_size(region);
  }
  // 0, and no id, if it has not been started yet.
  pid_t pid() const { return std::max(pid_, 0); }
  const std::string& id() const { return id_; }
  // Whether its screen loop was replaced; see screen_loop.h.
  bool tuned() const { return tuned_; }

 private:
  void MakeQueues();
  void Open();
  void DropQueues();
  bool Spawn();
  pid_t StartDirectly() const;
  void Attach();
  void RemoveNames();
  void End();
  std::string ExitReason(int status) const;

  const EngineConfig& config_;
  const std::uint32_t game_seed_;
  const EngineRole role_;
  std::string id_;
  IdLock lock_;
  std::unique_ptr<EngineQueue> to_engine_, from_engine_;
  pid_t pid_ = -1;
  bool spawned_ = false;  // unless it waits for the server that will start it
  bool tuned_ = false;
  WaitLimit limit_;  // of the start, then of each request
  EngineSegment segment_;
};

}  // namespace jaxfactory

#endif  // JAXFACTORY_DOOM_ENGINE_DOOM_ENGINE_H_
