// The configuration of a Doom environment: engine, observations, rewards.
#ifndef JAXFACTORY_DOOM_CONFIG_H_
#define JAXFACTORY_DOOM_CONFIG_H_

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "doom/engine/engine_config.h"

namespace jaxfactory {

// The policy's image: the screen, and other buffers as further channels, resized by
// nearest neighbor.
struct FrameSpec {
  int screen_width = 160, screen_height = 120;
  int width = 128, height = 72;
  int screen_channels = 3;  // 3 interleaved, or 1
  bool depth = false, labels = false, automap = false;
  int stack = 1;  // the last so many images as channels, the newest last

  // Of one image.
  int image_channels() const {
    return screen_channels + (depth ? 1 : 0) + (labels ? 1 : 0) +
           (automap ? screen_channels : 0);
  }
  int channels() const { return stack * image_channels(); }
  std::size_t bytes() const {
    return static_cast<std::size_t>(width) * height * channels();
  }
};

// The reward keys of a ViZDoom .cfg; see DoomGame's setters of the same names.
struct GameReward {
  double living = 0, death_penalty = 0, map_exit = 0, kill = 0, secret = 0, item = 0,
         frag = 0, hit = 0, hit_taken_penalty = 0, damage_made = 0,
         damage_taken_penalty = 0, health = 0, armor = 0;
};

// Adds to the reward when a game variable changes between two steps.
struct ShapingTerm {
  int variable = 0;
  double rise = 0, fall = 0;  // per unit of change, or once if `per_event`
  double cap = 0;             // the largest rise that counts; 0 for no limit
  bool per_event = false;
  bool not_negative = false;  // read a negative value as 0
};

// Adds to the reward of a step after which the same weapon, with ammunition, has been
// held for `decisions` steps, including this one.
struct HeldWeapon {
  double reward = 0;
  int decisions = 5;
};

// One element of the measurements, computed from a game variable.
struct Measurement {
  int variable = -1;  // -1: always 0
  double divisor = 1;
  double cap = 0;             // the largest value, after the division; 0 for no limit
  bool not_negative = false;  // read a negative value as 0
};

// A match of several players: agents, each with its own engine and row in the pool, and
// the engine's bots.
struct MatchConfig {
  int agents = 0;  // 0: single player; 1: a match against bots alone
  int bots = 0;
  std::vector<std::string> rules;  // the host's arguments
  std::vector<int> cores;  // of the agents' engines, in turn; empty: their worker's
};

// Transforms a step's reward into the training reward. Returns sum the untransformed
// rewards, so that they are comparable across training settings.
struct TrainedReward {
  double scale = 1;
  double clip = 0;  // limit of its absolute value, after scaling; 0 for none
};

// One choice of an action head: values for buttons.
using Choice = std::vector<std::pair<int, double>>;

struct DoomConfig {
  EngineConfig engine;
  FrameSpec frame;
  MatchConfig match;
  GameReward reward;
  int own_variable = -1;  // its change is the raw reward instead; -1 for none
  std::vector<ShapingTerm> shaping;
  HeldWeapon held_weapon;
  std::vector<Measurement> measurements;
  double reward_scale = 1;  // the scenario's scale of rewards and returns
  TrainedReward trained;
  std::string map = "map01";
  int frame_skip = 4;
  bool queued_tics =
      false;             // send a step's tics at once: does not stop when a player dies
  unsigned timeout = 0;  // tics, 0 for none
  // An engine that has played so many tics, or down to half as many, is replaced at the
  // end of an episode; 0 for never.
  unsigned engine_tics = 0;
  unsigned stagger = 0;  // tics after which a first episode is truncated at the latest
  unsigned start_time = 1;  // tics that pass before the first observation
  std::vector<int> buttons;
  std::vector<std::pair<int, double>> max_values;  // of delta buttons
  std::vector<std::vector<Choice>> heads;
  std::vector<int> variables;
  bool restart_failed = true;  // restart an engine that fails, else report the error
};

}  // namespace jaxfactory

#endif  // JAXFACTORY_DOOM_CONFIG_H_
