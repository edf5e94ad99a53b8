// Checker: which superblock is the truth, and what the other slot tells.
#include <algorithm>
#include <cstring>

#include "base/crc32c.h"
#include "base/endian.h"
#include "check/checker.h"

namespace fvd {

using format::SlotRemains;
using format::Superblock;

namespace {

constexpr std::size_t kSector = 512;

bool crc_is_right(std::span<const std::byte, Superblock::kSize> page) {
  return load_le<std::uint32_t>(page.data() + 12) == crc32c(std::span<const std::byte>(page).subspan(16));
}

bool is_zero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

// Whether `page` can be what a cut write left where a superblock without a base image went over one with it (flatten,
// and the write after it): the path, which reaches into the sectors behind the first, has lost some part. `whole` is
// the other superblock, from before or after the base was cut loose.
bool base_may_be_cut(std::span<const std::byte, Superblock::kSize> page,
                     std::span<const std::byte, Superblock::kSize> whole, bool first_sector_is_new) {
  constexpr std::size_t kPath = 184;
  constexpr std::size_t kPathEnd = 1208;
  const auto path_in_first = page.subspan(kPath, kSector - kPath);
  const bool goes_on = std::find(path_in_first.begin(), path_in_first.end(), std::byte{0}) == path_in_first.end();
  if (first_sector_is_new ? page[kPath] != std::byte{0} : !goes_on) return false;
  if (!std::equal(page.begin() + kPathEnd, page.end(), whole.begin() + kPathEnd)) return false;
  const bool base_is_known = whole[kPath] != std::byte{0};
  bool lost = false;
  bool left = false;
  for (std::size_t at = kSector; at < kPathEnd; at += kSector) {
    const std::size_t length = std::min(kSector, kPathEnd - at);
    const auto part = page.subspan(at, length);
    const auto known = whole.subspan(at, length);
    const bool same = std::equal(part.begin(), part.end(), known.begin());
    if (base_is_known && !same && !is_zero(part)) return false;
    lost = lost || (base_is_known ? !same : is_zero(part));
    left = left || !is_zero(part);
  }
  return first_sector_is_new ? left : lost;
}

// Whether the write of a superblock that power cut short can have left `page` (its CRC is wrong), beside the valid
// superblock `whole` with that sequence. A sector of 512 bytes is old or new; all that differs between one superblock
// and the next lies in the first (but for a change of base image or features), so only a slot's first write can be
// torn.
bool may_be_cut(std::span<const std::byte, Superblock::kSize> page, std::span<const std::byte, Superblock::kSize> whole,
                const SlotRemains& remains, std::uint64_t sequence) {
  if (sequence == 1) {
    for (std::size_t at = 0; at < page.size(); at += kSector) {
      if (is_zero(page.subspan(at, kSector)) && !is_zero(whole.subspan(at, kSector))) return true;
    }
    return false;
  }
  if (!remains.belongs_here || (remains.sequence != sequence - 1 && remains.sequence != sequence + 1)) return false;
  if (base_may_be_cut(page, whole, remains.sequence == sequence + 1)) return true;
  if (std::equal(page.begin() + kSector, page.end(), whole.begin() + kSector)) return false;
  std::array<std::byte, Superblock::kSize> mended;
  std::copy(page.begin(), page.begin() + kSector, mended.begin());
  std::copy(whole.begin() + kSector, whole.end(), mended.begin() + kSector);
  return !crc_is_right(mended);
}

// The slot held the superblock before the valid one, and nothing else that one bit can make of it.
bool was_the_older(std::span<const std::byte, Superblock::kSize> page, const SlotRemains& remains,
                   std::uint64_t sequence) {
  if (!remains.belongs_here || remains.sequence + 1 != sequence) return false;
  std::array<std::byte, Superblock::kSize> newer;
  std::copy(page.begin(), page.end(), newer.begin());
  store_le(newer.data() + 40, sequence + 1);
  return !crc_is_right(newer);
}

}  // namespace

bool Checker::choose_superblock() {
  std::array<SlotPage, 2> pages;
  std::array<Result<Superblock>, 2> slots{Status(Code::kCorrupt, "not read"), Status(Code::kCorrupt, "not read")};
  for (std::size_t i = 0; i < 2; ++i) {
    const std::uint64_t offset = header_.superblock_offset[i];
    if (!read(offset, pages[i])) return false;
    slots[i] = Superblock::decode(pages[i], offset, header_.uuid, geometry_);
    if (slots[i].code() == Code::kUnsupported) {
      io_error_ = slots[i].status();
      return false;
    }
  }
  if (!slots[0] && !slots[1]) {
    corrupt("superblock", "neither superblock is valid (slot 0: " + slots[0].status().message() +
                              "; slot 1: " + slots[1].status().message() + ")");
    return false;
  }
  std::size_t chosen = slots[0] ? 0 : 1;
  if (slots[0] && slots[1]) {
    const std::uint64_t first = slots[0]->sequence;
    const std::uint64_t second = slots[1]->sequence;
    chosen = (first > second) != older_ ? 0 : 1;
    if (first == second) {
      corrupt("superblock", "both superblocks have the same sequence (" + std::to_string(first) + ")");
    } else if (first + 1 != second && second + 1 != first) {
      corrupt("superblock",
              "the superblocks do not follow each other (sequences " + std::to_string(first) + " and " +
                  std::to_string(second) + "): a write of one between them was lost",
              Mend::kSuperblock);
    }
  }
  superblock_ = *slots[chosen];
  if (!slots[1 - chosen]) judge_other_slot(chosen, pages, slots[1 - chosen].status());
  report_.clean = (superblock_.flags & Superblock::kFlagClean) != 0;
  report_.snapshots = superblock_.snapshot_count;
  return true;
}

// The other slot is not valid: was it never written, cut short in writing, or did it hold something since?
void Checker::judge_other_slot(std::size_t chosen, const std::array<SlotPage, 2>& pages, const Status& why) {
  const SlotPage& page = pages[1 - chosen];
  const auto remains = SlotRemains::of(page, header_.superblock_offset[1 - chosen], header_.uuid);
  const std::uint64_t sequence = superblock_.sequence;
  const std::string slot = "slot " + std::to_string(1 - chosen);
  const std::string newer =
      "if it was newer than superblock " + std::to_string(sequence) + ", what it made durable is lost";
  if (remains.blank) {
    if (sequence > 1) {
      corrupt("superblock",
              slot + " is blank, and it was written before superblock " + std::to_string(sequence) + "; " + newer,
              Mend::kOlderSuperblock);
    }
  } else if (remains.crc_is_right) {
    corrupt("superblock", slot + " was written so, with a right CRC, and cannot be used: " + why.message(),
            remains.sequence < sequence ? Mend::kSuperblock : Mend::kOlderSuperblock);
  } else if (!may_be_cut(page, pages[chosen], remains, sequence)) {
    if (was_the_older(page, remains, sequence)) {
      corrupt(
          "superblock",
          slot + " is damaged (" + why.message() + "); it held the one before superblock " + std::to_string(sequence),
          Mend::kSuperblock);
    } else {
      corrupt("superblock",
              slot + " is damaged (" + why.message() + "), and no write that was cut short leaves it so; " + newer,
              Mend::kOlderSuperblock);
    }
  }
}

}  // namespace fvd
