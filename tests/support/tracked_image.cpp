#include "support/tracked_image.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace fvd::test {
namespace {

constexpr std::uint64_t kSector = kSectorSize;

// One line for current-state and one for each snapshot, the same for model and image.
std::string state_line(const std::string& name, std::uint64_t size, const std::string& parent, bool held,
                       const std::string& description) {
  return name + " size=" + std::to_string(size) + " parent=" + (parent.empty() ? "-" : parent) + (held ? " held" : "") +
         (description.empty() ? "" : " \"" + description + "\"") + "\n";
}

std::string metadata_of(const Image& image) {
  const auto name_of = [&image](SnapshotId id) {
    const auto info = image.find_snapshot(id);
    return id == 0 ? std::string() : info ? info->name : "lost id " + std::to_string(id);
  };
  std::string text = state_line("current-state", image.virtual_size(), name_of(image.current_parent()), false, "");
  for (const auto& one : image.snapshots()) {
    text += state_line(one.name, one.virtual_size, name_of(one.parent), one.held, one.description);
  }
  return text;
}

Verdict read_state(StateReader& state, const std::string& name, Bytes* content) {
  content->assign(state.virtual_size(), std::byte{0xEE});
  const auto n = state.read(0, *content);
  if (!n) return "reading " + name + " failed: " + n.status().message();
  if (*n != content->size()) return "reading " + name + " came short: " + std::to_string(*n);
  for (std::uint64_t at = 0; at < content->size();) {
    const auto extent = state.extent(at);
    if (!extent) return "extent of " + name + " at " + std::to_string(at) + ": " + extent.status().message();
    if (extent->offset != at || extent->length == 0 || extent->length > content->size() - at) {
      return "extent of " + name + " at " + std::to_string(at) + " is " + std::to_string(extent->offset) + "+" +
             std::to_string(extent->length);
    }
    const auto begin = content->begin() + static_cast<std::ptrdiff_t>(at);
    const auto end = begin + static_cast<std::ptrdiff_t>(extent->length);
    if (!extent->data && std::any_of(begin, end, [](std::byte b) { return b != std::byte{0}; })) {
      return name + " has data in the hole at " + std::to_string(at);
    }
    at += extent->length;
  }
  return {};
}

}  // namespace

void World::put(std::uint64_t offset, std::span<const std::byte> data, bool happened) {
  if (data.empty()) return;
  if (data.empty()) return;  // then the offset may be anywhere
  const std::uint64_t end = offset + data.size();
  Bytes sector(kSector);
  for (std::uint64_t number = offset / kSector; number * kSector < end; ++number) {
    const std::uint64_t start = number * kSector;
    std::memcpy(sector.data(), current.data() + start, kSector);
    const std::uint64_t from = std::max(start, offset);
    const std::uint64_t to = std::min(start + kSector, end);
    std::memcpy(sector.data() + (from - start), data.data() + (from - offset), to - from);
    auto& list = versions[number];
    if (list.empty() || list.back() != sector) list.push_back(sector);
    if (happened) std::memcpy(current.data() + start, sector.data(), kSector);
  }
}

void World::settle() {
  for (const auto& [number, list] : versions) {
    std::memcpy(durable.data() + number * kSector, current.data() + number * kSector, kSector);
  }
  versions.clear();
}

void World::resize(std::uint64_t size) {
  current.resize(size);
  durable.resize(size);
  versions.erase(versions.lower_bound(size / kSector), versions.end());
}

std::string World::metadata() const {
  const auto name_of = [this](std::uint32_t key) { return key == 0 ? std::string() : snapshots.at(key).name; };
  std::string text = state_line("current-state", current.size(), name_of(parent), false, "");
  for (const auto& [key, one] : snapshots) {
    text += state_line(one.name, one.content->size(), name_of(one.parent), one.held, one.description);
  }
  return text;
}

TrackedImage::TrackedImage(const CreateOptions& options, OpenOptions open_options)
    : disk_(make_disk(options)), options_(std::move(open_options)) {
  world_.resize((options.virtual_size + kSector - 1) / kSector * kSector);
  last_ = {};
  image_ = open_disk(*disk_, options_);
  if (!options.base_path.empty() && image_) world_.current = world_.durable = read_all(*image_);
}

TrackedImage::TrackedImage(const TrackedImage& other)
    : disk_(other.disk_->clone()),
      options_(other.options_),
      world_(other.world_),
      other_(other.other_),
      next_key_(other.next_key_) {
  image_ = open_disk(*disk_, options_);
}

std::uint32_t TrackedImage::key_of(const std::string& name) const {
  for (const auto& [key, one] : world_.snapshots) {
    if (one.name == name) return key;
  }
  return 0;
}

std::string TrackedImage::snapshot_name(std::uint64_t choice) const {
  if (world_.snapshots.empty()) return {};
  auto it = world_.snapshots.begin();
  std::advance(it, static_cast<std::ptrdiff_t>(choice % world_.snapshots.size()));
  return it->second.name;
}

// Whether errors are to be expected at all.
bool TrackedImage::faulty() const { return disk_->fault_hit() || (image_ && image_->read_only()); }

Verdict TrackedImage::conclude(const std::string& what, Status status, std::optional<World> after) {
  last_ = std::move(status);
  if (last_) {
    if (after) world_ = *std::move(after);
    return {};
  }
  const bool refused = last_.code() == Code::kReadOnly && image_ && image_->read_only();
  if (refused) return {};  // an earlier failure, judged then
  if (!disk_->fault_hit()) return what + " failed: " + last_.message();
  // Once read-only, or without power, the image may have got to either side; else it must have stayed where it was.
  if (disk_->is_cut() || (image_ && image_->read_only())) other_ = std::move(after);
  return {};
}

Verdict TrackedImage::open() {
  auto opened = Image::open_on(disk_->open(), options_);
  last_ = opened.status();
  if (!opened) return disk_->fault_hit() ? Verdict() : "open failed: " + last_.message();
  image_ = std::move(opened).value();
  return {};
}

Verdict TrackedImage::close() {
  World after = world_;
  after.settle();
  const Verdict verdict = conclude("close", image_->close(), std::move(after));
  image_.reset();
  return verdict;
}

Verdict TrackedImage::write_like(const std::string& what, std::uint64_t offset, const Bytes& data,
                                 const Status& status) {
  const Bytes before = status.is_ok() ? Bytes() : world_.current;
  world_.put(offset, data, status.is_ok());
  if (const Verdict verdict = conclude(what, status, std::nullopt); !verdict.empty()) return verdict;
  return status.is_ok() ? Verdict() : take_up(what, offset, data.size(), before);
}

// After a change that failed without a power cut, any part of it may be visible: takes up what is, sector by sector.
Verdict TrackedImage::take_up(const std::string& what, std::uint64_t offset, std::uint64_t length,
                              const Bytes& before) {
  if (disk_->is_cut() || length == 0) return {};
  const std::uint64_t start = offset / kSector * kSector;
  Bytes seen((offset + length + kSector - 1) / kSector * kSector - start);
  const auto n = image_->read(start, seen);
  if (!n) return disk_->fault_hit() ? Verdict() : "reading back after a failed " + what + ": " + n.status().message();
  for (std::uint64_t at = start; at < start + seen.size(); at += kSector) {
    const std::byte* sector = seen.data() + (at - start);
    const Bytes& attempted = world_.versions[at / kSector].back();
    if (std::memcmp(sector, before.data() + at, kSector) != 0 && std::memcmp(sector, attempted.data(), kSector) != 0) {
      return "after a failed " + what + " the sector at " + std::to_string(at) + " is neither old nor new";
    }
    std::memcpy(world_.current.data() + at, sector, kSector);
  }
  return {};
}

Verdict TrackedImage::write(std::uint64_t offset, const Bytes& data) {
  const auto n = image_->write(offset, data);
  if (offset >= size()) {
    last_ = n.status();
    return n.code() == Code::kNoSpace || faulty() ? "" : "write past the end was not refused";
  }
  Bytes clipped = data;
  clipped.resize(std::min<std::uint64_t>(data.size(), size() - offset));
  if (n && *n != clipped.size()) return "write returned " + std::to_string(*n);
  return write_like("write", offset, clipped, n.status());
}

Verdict TrackedImage::read(std::uint64_t offset, std::uint64_t length) {
  Bytes seen(length, std::byte{0xEE});
  const auto n = image_->read(offset, seen);
  last_ = n.status();
  if (!n) return disk_->fault_hit() ? Verdict() : "read failed: " + last_.message();
  const std::uint64_t wanted = offset >= size() ? 0 : std::min(length, size() - offset);
  if (*n != wanted) return "read returned " + std::to_string(*n) + " instead of " + std::to_string(wanted);
  if (wanted != 0 && std::memcmp(seen.data(), world_.current.data() + offset, wanted) != 0) {
    seen.resize(wanted);
    const auto begin = world_.current.begin() + static_cast<std::ptrdiff_t>(offset);
    return "read of " + std::to_string(wanted) + " at " + std::to_string(offset) + ": " +
           difference(Bytes(begin, begin + static_cast<std::ptrdiff_t>(wanted)), seen);
  }
  return {};
}

Verdict TrackedImage::discard(std::uint64_t offset, std::uint64_t length) {
  const Status status = image_->discard(offset, length);
  const std::uint64_t n = offset >= size() ? 0 : std::min(length, size() - offset);
  return write_like("discard", offset, zeros(n), status);
}

Verdict TrackedImage::preallocate(std::uint64_t offset, std::uint64_t length) {
  return conclude("preallocate", image_->preallocate(offset, length), std::nullopt);
}

Verdict TrackedImage::flush() {
  World after = world_;
  after.settle();
  return conclude("flush", image_->flush(), std::move(after));
}

Verdict TrackedImage::copy(const std::string& source, std::uint64_t from, std::uint64_t to, std::uint64_t length) {
  const std::uint32_t key = key_of(source);
  SnapshotId id = 0;
  if (key != 0) {
    const auto info = image_->find_snapshot(source);
    if (!info) return "snapshot " + source + " is gone";
    id = info->id;
  }
  const Bytes& content = key == 0 ? world_.current : *world_.snapshots.at(key).content;
  const auto n = image_->copy_range(id, from, to, length);
  std::uint64_t wanted = from >= content.size() ? 0 : std::min(length, content.size() - from);
  if (wanted != 0 && to >= size()) {
    last_ = n.status();
    return n.code() == Code::kNoSpace || faulty() ? "" : "copy past the end was not refused";
  }
  wanted = wanted == 0 ? 0 : std::min(wanted, size() - to);
  if (key == 0 && from < to + wanted && to < from + wanted) {
    last_ = n.status();
    return n.code() == Code::kInvalid || faulty() ? "" : "copy onto itself was not refused";
  }
  if (n && *n != wanted) return "copy returned " + std::to_string(*n) + " instead of " + std::to_string(wanted);
  const auto begin = content.begin() + static_cast<std::ptrdiff_t>(wanted == 0 ? 0 : from);
  return write_like("copy", to, Bytes(begin, begin + static_cast<std::ptrdiff_t>(wanted)),
                    wanted == 0 ? Status() : n.status());
}

Verdict TrackedImage::resize(std::uint64_t new_size) {
  World after = world_;
  after.resize(new_size);
  // A shrink that is cut short has changed no size but may have begun to give up what is past the new end.
  const std::uint64_t old_size = size();
  const std::uint64_t given_up = new_size < old_size ? old_size - new_size : 0;
  const Bytes before = world_.current;
  world_.put(new_size, zeros(given_up), false);
  const Status status = image_->resize(new_size, true);
  if (const Verdict verdict = conclude("resize", status, std::move(after)); !verdict.empty()) return verdict;
  return status.is_ok() ? Verdict() : take_up("resize", new_size, given_up, before);
}

Verdict TrackedImage::create(const std::string& name, const std::string& description) {
  World after = world_;
  after.settle();
  const std::uint32_t key = next_key_++;
  after.snapshots[key] = {name, description, after.parent, false, std::make_shared<const Bytes>(after.current)};
  after.parent = key;
  return conclude("create of " + name, image_->snapshot_create(name, description).status(), std::move(after));
}

Verdict TrackedImage::go_to(const std::string& name) {
  World after = world_;
  after.parent = key_of(name);
  after.current = after.durable = *after.snapshots.at(after.parent).content;
  after.versions.clear();
  return conclude("goto " + name, image_->snapshot_goto(name), std::move(after));
}

Verdict TrackedImage::rename(const std::string& name, const std::string& new_name) {
  World after = world_;
  after.snapshots.at(key_of(name)).name = new_name;
  return conclude("rename of " + name, image_->snapshot_rename(name, new_name), std::move(after));
}

Verdict TrackedImage::remove(const std::string& name) {
  const std::uint32_t key = key_of(name);
  Status status = image_->snapshot_delete(name);
  if (world_.snapshots.at(key).held) {
    last_ = std::move(status);
    return last_.code() == Code::kBusy || (!last_ && faulty()) ? "" : "delete of a held snapshot: not busy";
  }
  World after = world_;
  const std::uint32_t parent = after.snapshots.at(key).parent;
  after.snapshots.erase(key);
  for (auto& [other, one] : after.snapshots) {
    if (one.parent == key) one.parent = parent;
  }
  if (after.parent == key) after.parent = parent;
  return conclude("delete of " + name, std::move(status), std::move(after));
}

Verdict TrackedImage::describe(const std::string& name, const std::string& description) {
  World after = world_;
  after.snapshots.at(key_of(name)).description = description;
  return conclude("description of " + name, image_->snapshot_set_description(name, description), std::move(after));
}

Verdict TrackedImage::hold(const std::string& name, bool held) {
  World after = world_;
  after.snapshots.at(key_of(name)).held = held;
  return conclude("hold of " + name, image_->snapshot_set_hold(name, held), std::move(after));
}

Verdict TrackedImage::import(const std::string& name, const std::string& base, std::uint64_t size,
                             const std::vector<ImportPiece>& pieces, bool commit) {
  const std::uint32_t key = key_of(base);
  ImportOptions options;
  options.name = name;
  options.virtual_size = size;
  options.created_seconds = 1000000000;
  Bytes content = key == 0 ? Bytes() : *world_.snapshots.at(key).content;
  content.resize(size);
  if (key != 0) {
    const auto info = image_->find_snapshot(base);
    if (!info) return "snapshot " + base + " is gone";
    options.base = options.parent = info->id;
  }
  const auto begun = image_->import_snapshot(options);
  if (!begun) return conclude("import of " + name, begun.status(), std::nullopt);
  SnapshotImport& import = **begun;
  for (const ImportPiece& piece : pieces) {
    if (piece.between) {
      if (Verdict verdict = piece.between(); !verdict.empty()) return verdict;
    }
    const auto at = content.begin() + static_cast<std::ptrdiff_t>(piece.offset);
    std::copy(piece.data.begin(), piece.data.end(), at);
    if (piece.data.empty()) std::fill_n(at, piece.zeros, std::byte{0});
    const Status status =
        piece.data.empty() ? import.discard(piece.offset, piece.zeros) : import.write(piece.offset, piece.data);
    if (!status) return conclude("import of " + name, status, std::nullopt);
  }
  if (!commit) return {};
  World after = world_;
  after.snapshots[next_key_++] = {name, "", key, false, std::make_shared<const Bytes>(std::move(content))};
  return conclude("import of " + name, import.commit().status(), std::move(after));
}

// Both make what was written before them durable, and change nothing that can be seen.
Verdict TrackedImage::flatten() {
  World after = world_;
  after.settle();
  return conclude("flatten", image_->flatten(), std::move(after));
}

Verdict TrackedImage::compact() {
  World after = world_;
  after.settle();
  return conclude("compact", image_->compact(), std::move(after));
}

Verdict TrackedImage::observe(Image& image, Observed* seen) {
  seen->metadata = metadata_of(image);
  if (Verdict verdict = read_state(image, "current-state", &seen->current); !verdict.empty()) return verdict;
  for (const auto& one : image.snapshots()) {
    const auto reader = image.open_snapshot(one.id);
    if (!reader) return "opening " + one.name + " failed: " + reader.status().message();
    if (Verdict verdict = read_state(**reader, one.name, &seen->snapshots[one.name]); !verdict.empty()) return verdict;
  }
  return {};
}

Verdict TrackedImage::judge(const World& world, const Observed& seen, Rule rule) {
  if (world.metadata() != seen.metadata) {
    return "metadata is\n" + seen.metadata + "instead of\n" + world.metadata();
  }
  for (const auto& [key, one] : world.snapshots) {
    if (const auto differs = difference(*one.content, seen.snapshots.at(one.name)); !differs.empty()) {
      return "snapshot " + one.name + ": " + differs;
    }
  }
  if (rule == Rule::kExact) {
    const auto differs = difference(world.current, seen.current);
    return differs.empty() ? differs : "current-state: " + differs;
  }
  for (std::uint64_t at = 0; at < world.durable.size(); at += kSector) {
    const std::byte* sector = seen.current.data() + at;
    if (std::memcmp(sector, world.durable.data() + at, kSector) == 0) continue;
    const auto list = world.versions.find(at / kSector);
    if (list == world.versions.end()) return "current-state lost the synced sector at " + std::to_string(at);
    if (std::none_of(list->second.begin(), list->second.end(),
                     [sector](const Bytes& version) { return std::memcmp(sector, version.data(), kSector) == 0; })) {
      return "current-state at " + std::to_string(at) + " is neither old nor new (" +
             std::to_string(list->second.size()) + " versions)";
    }
  }
  return {};
}

Verdict TrackedImage::judge_any(const Observed& seen, Rule rule, World* match) {
  const Verdict first = judge(world_, seen, rule);
  if (first.empty()) {
    *match = world_;
    return {};
  }
  if (!other_) return first;
  const Verdict second = judge(*other_, seen, rule);
  if (second.empty()) {
    *match = *other_;
    return {};
  }
  return "neither before: " + first + "\nnor after: " + second;
}

Verdict TrackedImage::compare() {
  Observed seen;
  World match;
  const Verdict verdict = observe(*image_, &seen);
  if (!verdict.empty() && disk_->fault_hit()) return {};  // a read failed as it was told to
  return verdict.empty() ? judge_any(seen, Rule::kExact, &match) : verdict;
}

Verdict TrackedImage::inspect(CrashDisk& disk, World* match) {
  if (const auto findings = check_findings(*disk.open()); !findings.empty()) return "check before: " + findings;
  Observed unwritten;
  OpenOptions read_only = options_;
  read_only.read_only = true;
  auto opened = Image::open_on(disk.open(), read_only);
  if (!opened) return "opening read-only failed: " + opened.status().message();
  if (Verdict verdict = observe(**opened, &unwritten); !verdict.empty()) return "read-only: " + verdict;
  opened = Image::open_on(disk.open(), options_);
  if (!opened) return "reopen failed: " + opened.status().message();
  Observed seen;
  if (Verdict verdict = observe(**opened, &seen); !verdict.empty()) return verdict;
  if (const auto differs = difference(seen.current, unwritten.current); !differs.empty()) {
    return "read-only, it was another: " + differs;
  }
  if (Verdict verdict = judge_any(seen, Rule::kAfterCrash, match); !verdict.empty()) return verdict;
  match->current = match->durable = seen.current;
  match->versions.clear();
  if (const Status closed = (*opened)->close(); !closed) return "close after recovery failed: " + closed.message();
  opened = Status();
  if (const auto findings = check_findings(*disk.open()); !findings.empty()) return "check after: " + findings;
  return {};
}

Verdict TrackedImage::adopt(std::shared_ptr<CrashDisk> disk, World world) {
  image_.reset();
  disk_ = std::move(disk);
  world_ = std::move(world);
  other_.reset();
  return open();
}

Verdict TrackedImage::power_cut(std::span<const std::uint64_t> seeds) {
  std::shared_ptr<CrashDisk> next;
  World next_world;
  for (const std::uint64_t seed : seeds) {
    const auto survivor = disk_->reboot(seed);
    const auto copy = survivor->clone();  // inspection closes, and so changes, its disk
    World match;
    if (const Verdict verdict = inspect(*copy, &match); !verdict.empty()) {
      return "after a power cut (seed " + std::to_string(seed) + "): " + verdict;
    }
    if (!next) {
      next = survivor;
      next_world = std::move(match);
    }
  }
  return adopt(std::move(next), std::move(next_world));
}

Verdict TrackedImage::killed() {
  auto survivor = disk_->clone();
  const auto copy = survivor->clone();
  World match;
  if (const Verdict verdict = inspect(*copy, &match); !verdict.empty()) return "after a kill: " + verdict;
  return adopt(std::move(survivor), std::move(match));
}

}  // namespace fvd::test
