// SnapshotRecords against a plain vector of records: after any history of changes both hold the same, and encode to the
// same object.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "format/directory.h"
#include "snapshot/records.h"
#include "support/image_rig.h"

namespace fvd::test {
namespace {

using format::SnapshotRecord;

constexpr format::Geometry kGeometry{16, 12, 1 << 20};
constexpr std::uint32_t kNextId = 100000;

SnapshotRecord record(std::uint32_t id, std::uint32_t parent, std::size_t description = 0) {
  SnapshotRecord r;
  r.id = id;
  r.parent = parent;
  r.virtual_size = 1 << 20;
  r.table = {id, id * 3, 64};
  r.created_seconds = id;
  r.name = "snapshot " + std::to_string(id);
  r.description = std::string(description, 'd');
  return r;
}

Bytes object_of(const SnapshotRecords& records) {
  Bytes object(records.object_size());
  SnapshotRecords::Header header;
  records.seal(&header);
  std::copy(header.begin(), header.end(), object.begin());
  records.copy(header.size(), std::span(object).subspan(header.size()));
  return object;
}

format::ObjectRef ref_to(const Bytes& object) { return {1, load_le<std::uint32_t>(object.data() + 16), object.size()}; }

void expect_same(const std::vector<SnapshotRecord>& wanted, const SnapshotRecords& seen) {
  ASSERT_EQ(wanted.size(), seen.size());
  if (wanted.empty()) return;
  const Bytes object = object_of(seen);
  ASSERT_EQ(difference(format::encode_directory(wanted), object), "");
  auto one = wanted.begin();
  for (const SnapshotRecord& r : seen) ASSERT_EQ(r.id, (one++)->id);
  for (const SnapshotRecord& r : wanted) {
    ASSERT_EQ(seen.find(r.id)->name, r.name);
    ASSERT_EQ(seen.find(r.name)->id, r.id);
    ASSERT_TRUE(seen.name_table(r.table.first_chunk));
  }
  ASSERT_FALSE(seen.find("nobody"));
  ASSERT_FALSE(seen.find(kNextId));
  ASSERT_FALSE(seen.name_table(kNextId));
  // Read from the disk it is the same again.
  ASSERT_OK(format::check_directory(object, ref_to(object), kGeometry, kNextId, kNextId));
  ASSERT_EQ(difference(object, object_of(SnapshotRecords(object))), "");
  Bytes middle(object.size() / 2);
  seen.copy(format::kObjectHeader + 1, std::span(middle).first(middle.size() - format::kObjectHeader / 2));
  ASSERT_TRUE(
      std::equal(middle.begin(), middle.end() - format::kObjectHeader / 2, object.begin() + format::kObjectHeader + 1));
}

// That the bytes said to be the same are, and in the common cases no fewer than can be.
void expect_same_bytes(const SnapshotRecords& a, const SnapshotRecords& b) {
  const Bytes x = object_of(a);
  const Bytes y = object_of(b);
  const std::uint64_t same = a.same_bytes(b);
  ASSERT_LE(same, std::min(x.size(), y.size()));
  ASSERT_EQ(same, b.same_bytes(a));
  for (std::size_t i = format::kObjectHeader; i < same; ++i) ASSERT_EQ(x[i], y[i]) << i;
}

TEST(SnapshotRecords, AreAsAVectorOfRecords) {
  const std::uint64_t seed = environment("FVD_TEST_SEED", 1);
  std::mt19937_64 random(seed);
  SCOPED_TRACE("FVD_TEST_SEED=" + std::to_string(seed));
  std::vector<SnapshotRecord> wanted;
  SnapshotRecords seen;
  SnapshotRecords older;
  std::uint32_t next = 1;
  for (int step = 0; step < 1500; ++step) {
    if (step % 3 == 0) older = seen;
    const std::size_t at = wanted.empty() ? 0 : random() % wanted.size();
    const std::uint64_t kind = random() % 8;
    if (wanted.empty() || kind < 4) {
      const std::uint32_t parent = wanted.empty() ? 0 : wanted[at].id;
      wanted.push_back(record(next++, parent, random() % 20 == 0 ? 4096 : random() % 30));
      seen.push_back(wanted.back());
    } else if (kind < 6) {
      wanted[at].name = "renamed " + std::to_string(step);
      wanted[at].description = std::string(random() % 3 == 0 ? 4096 : 0, 'e');
      seen.replace(wanted[at]);
    } else {
      const SnapshotRecord gone = wanted[at];
      wanted.erase(wanted.begin() + static_cast<std::ptrdiff_t>(at));
      for (SnapshotRecord& r : wanted) {
        if (r.parent == gone.id) r.parent = gone.parent;
      }
      seen.erase(gone.id);
    }
    expect_same_bytes(seen, older);
    if (step % 25 == 0) expect_same(wanted, seen);
    if (HasFatalFailure()) FAIL() << "at step " << step;
  }
  while (!wanted.empty()) {
    seen.erase(wanted.back().id);
    wanted.pop_back();
  }
  EXPECT_TRUE(seen.empty());
  EXPECT_TRUE(seen.begin() == seen.end());
}

TEST(SnapshotRecords, WhatWasAppendedIsAllThatDiffers) {
  SnapshotRecords records;
  for (std::uint32_t id = 1; id <= 1000; ++id) records.push_back(record(id, id - 1));
  SnapshotRecords longer = records;
  longer.push_back(record(1001, 1000));
  EXPECT_EQ(longer.same_bytes(records), records.object_size());
  SnapshotRecords shorter = records;
  shorter.erase(1000);
  EXPECT_EQ(shorter.same_bytes(records), shorter.object_size());
  shorter = records;
  shorter.erase(500);
  EXPECT_GE(shorter.same_bytes(records), format::kObjectHeader + 499 * record(1, 0).encoded_size());
}

}  // namespace
}  // namespace fvd::test
