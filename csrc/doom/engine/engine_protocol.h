// The memory layout and message codes of the ViZDoom engine's protocol.
//
// Taken from ViZDoom 1.3.2's ViZDoomSharedMemory.h and viz_defines.h. The segment
// names its own version and sizes, so a different layout is detected at start.
#ifndef JAXFACTORY_DOOM_ENGINE_ENGINE_PROTOCOL_H_
#define JAXFACTORY_DOOM_ENGINE_ENGINE_PROTOCOL_H_

#include <cstddef>
#include <cstdint>

namespace jaxfactory::protocol {

inline constexpr unsigned kEngineVersion = 132;  // 1.3.2
inline constexpr char kEngineVersionText[] = "1.3.2";

inline constexpr std::size_t kQueueMessages = 64;
inline constexpr std::size_t kCommandLength = 128;
inline constexpr int kRegions = 7;
inline constexpr int kSlots = 10;
inline constexpr int kPlayers = 16;
inline constexpr int kNameLength = 128;
inline constexpr int kUserVariables = 60;
inline constexpr int kButtons = 43;
inline constexpr int kDeltaButtons = 5;
inline constexpr int kUseButton = 1;
inline constexpr int kLabels = 256;
inline constexpr int kObjects = 4096;
inline constexpr int kSectors = 2048;
inline constexpr int kLines = 16384;
inline constexpr int kSectorLines = 1024;
inline constexpr int kNotificationChars = 32768;

enum Code : std::uint8_t {
  kDone = 11,         // from the engine: the last request is done
  kClosed = 12,       // from the engine
  kError = 13,        // from the engine, with a text
  kProcessExit = 14,  // from the engine
  kTic = 21,
  kUpdate = 22,
  kTicAndUpdate = 23,
  kCommand = 24,
  kClose = 25,
};

// A bool of the engine. The engine may write any byte there, which as a bool would be
// undefined behavior.
using Flag = std::uint8_t;

struct Message {
  std::uint8_t code;
  char command[kCommandLength];
};

enum Region {
  kStateRegion = 0,
  kInputRegion,
  kScreenRegion,
  kDepthRegion,
  kLabelsRegion,
  kAutomapRegion,
  kAudioRegion
};

struct Label {
  std::uint8_t value;
  unsigned position[2];
  unsigned size[2];
  unsigned object_id;
  double object_position[9];
  char object_name[kNameLength];
  char object_category[kNameLength];
};

struct Object {
  unsigned id;
  int sector_id;
  double position[9];
  char category[kNameLength];
  char name[kNameLength];
};

struct Sector {
  unsigned id;
  double floor_height;
  double ceiling_height;
  unsigned line_count;
  unsigned lines[kSectorLines];
};

struct Line {
  double position[4];
  Flag is_blocking;
};

struct GameState {
  unsigned version;
  char version_text[16];

  std::size_t segment_size;
  std::size_t region_offset[kRegions];
  std::size_t region_size[kRegions];
  Flag region_writeable[kRegions];

  unsigned game_tic;
  int game_state;
  int game_action;
  unsigned static_seed;
  Flag settings_controller;
  Flag net_game;
  Flag multiplayer;
  Flag deathmatch;
  Flag demo_recording;
  Flag demo_playback;
  Flag openal_sound;

  unsigned screen_width;
  unsigned screen_height;
  std::size_t screen_pitch;
  std::size_t screen_size;
  int screen_format;

  Flag depth_buffer;
  Flag labels_buffer;
  Flag automap_buffer;
  Flag objects_enabled;
  Flag sectors_enabled;
  Flag audio_buffer;
  Flag notifications_enabled;

  unsigned map_start_tic;
  unsigned map_tic;
  unsigned map_tic_limit;
  int map_reward;  // 16.16 fixed point
  int user_variables[kUserVariables];
  int map_kill_count;
  int map_item_count;
  int map_secret_count;
  Flag map_end;

  Flag player_has_actor;
  Flag player_dead;
  char player_name[kNameLength];
  int player_kill_count;
  int player_item_count;
  int player_secret_count;
  int player_frag_count;
  int player_death_count;
  Flag player_on_ground;
  int player_health;
  int player_armor;
  Flag player_attack_ready;
  Flag player_alt_attack_ready;
  int player_selected_weapon;
  int player_selected_weapon_ammo;
  int player_ammo[kSlots];
  int player_weapon[kSlots];
  double player_movement[10];
  double camera[7];
  Flag player_ready_to_respawn;
  unsigned player_number;

  unsigned player_count;
  Flag players_in_game[kPlayers];
  char players_name[kPlayers][kNameLength];
  int players_frag_count[kPlayers];
  Flag players_afk[kPlayers];
  unsigned players_last_action_tic[kPlayers];
  unsigned players_last_kill_tic[kPlayers];

  unsigned label_count;
  Label labels[kLabels];
  unsigned object_count;
  Object objects[kObjects];
  unsigned sector_count;
  Sector sectors[kSectors];
  unsigned line_count;
  Line lines[kLines];

  int player_hit_count;
  int player_hits_taken;
  int player_damage_count;
  int player_damage_taken;

  unsigned notifications_size;
  char notifications[kNotificationChars];
};

struct InputState {
  double buttons[kButtons];
  Flag available[kButtons];
  double max_value[kDeltaButtons];
  double command_buttons[kButtons];
};

}  // namespace jaxfactory::protocol

#endif  // JAXFACTORY_DOOM_ENGINE_ENGINE_PROTOCOL_H_
