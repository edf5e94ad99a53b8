// The snapshot tree as text: exact for every shape, and safe for shapes that only damage can make.
#include "image/tree_text.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "image/tree_json.h"

namespace fvd {
namespace {

SnapshotInfo snapshot(SnapshotId id, SnapshotId parent, std::string name) {
  SnapshotInfo info;
  info.id = id;
  info.parent = parent;
  info.name = std::move(name);
  return info;
}

std::vector<SnapshotInfo> story() {
  return {snapshot(1, 0, "s1"), snapshot(2, 1, "s2"), snapshot(3, 2, "s3"), snapshot(4, 3, "s4"), snapshot(5, 2, "s5")};
}

TEST(TreeLine, TellsTheStoryOfThreeGotos) {
  auto snapshots = story();
  EXPECT_EQ(tree_line(snapshots, 4), "s1->s2->{s3->s4->(current-state), s5}");
  EXPECT_EQ(tree_line(snapshots, 5), "s1->s2->{s3->s4, s5->(current-state)}");
  snapshots.pop_back();
  EXPECT_EQ(tree_line(snapshots, 4), "s1->s2->s3->s4->(current-state)");
  EXPECT_EQ(tree_line(snapshots, 2), "s1->s2->{s3->s4, (current-state)}");
}

TEST(TreeLine, ShowsSeveralRootsAndAnEmptyImage) {
  EXPECT_EQ(tree_line({}, 0), "(current-state)");
  EXPECT_EQ(tree_line({snapshot(3, 0, "a"), snapshot(7, 0, "b")}, 7), "a, b->(current-state)");
  EXPECT_EQ(tree_line({snapshot(3, 0, "a")}, 0), "a, (current-state)");
}

TEST(TreeLine, ShowsEveryStateOnceWhateverTheParents) {
  EXPECT_EQ(tree_line({snapshot(1, 2, "a"), snapshot(2, 1, "b")}, 2), "a->b->(current-state)");
  EXPECT_EQ(tree_line({snapshot(1, 1, "a")}, 9), "a, (current-state)");
}

TEST(TreeLine, TakesTheLongestPossibleChain) {
  std::vector<SnapshotInfo> snapshots;
  for (SnapshotId id = 1; id <= kMaxSnapshots; ++id) snapshots.push_back(snapshot(id, id - 1, std::to_string(id)));
  const std::string line = tree_line(snapshots, kMaxSnapshots);
  EXPECT_TRUE(line.ends_with("65535->(current-state)"));
  const std::string text = tree_text(snapshots, kMaxSnapshots);
  EXPECT_LT(text.size(), 10U << 20);
}

TEST(TreeText, BoundsTheIndentationOfAComb) {
  std::vector<SnapshotInfo> snapshots;
  for (SnapshotId id = 1; id <= 4000; id += 2) {
    snapshots.push_back(snapshot(id, id > 2 ? id - 2 : 0, "spine"));
    snapshots.push_back(snapshot(id + 1, id, "tooth"));
  }
  EXPECT_LT(tree_text(snapshots, 1).size(), 4000U * 512);
}

TEST(TreeText, DrawsBranchesBelowTheExactLine) {
  auto snapshots = story();
  snapshots[1].held = true;
  snapshots[1].allocated = 1536;
  snapshots[1].description = "before the upgrade\x7f\nsecond line";
  snapshots[1].created_seconds = 86399;
  EXPECT_EQ(tree_text(snapshots, 4),
            "s1->s2->{s3->s4->(current-state), s5}\n"
            "\n"
            "s1  1970-01-01 00:00:00  0 B\n"
            "s2  1970-01-01 23:59:59  1.5 KiB  [held]  before the upgrade?\n"
            "├── s3  1970-01-01 00:00:00  0 B\n"
            "│   s4  1970-01-01 00:00:00  0 B\n"
            "│   (current-state)\n"
            "└── s5  1970-01-01 00:00:00  0 B\n");
}

TEST(HumanBytes, IsShortAndNeverRoundsUp) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(1023), "1023 B");
  EXPECT_EQ(human_bytes(1536), "1.5 KiB");
  EXPECT_EQ(human_bytes((1U << 20) - 1), "1023 KiB");
  EXPECT_EQ(human_bytes(20ULL << 30), "20 GiB");
  EXPECT_EQ(human_bytes(~0ULL), "15.9 EiB");
  EXPECT_EQ(human_bytes(1024 + 60), "1.05 KiB");
}

TEST(Rfc3339, IsUtcWithNanoseconds) {
  EXPECT_EQ(rfc3339_utc(0, 1), "1970-01-01T00:00:00.000000001Z");
  EXPECT_EQ(rfc3339_utc(1795456800, 0), "2026-11-23T18:00:00.000000000Z");
  EXPECT_EQ(rfc3339_utc(INT64_MAX, 0), "unknown");
}

TEST(TreeJson, NamesParentsAndSurvivesBytesThatAreNotText) {
  auto snapshots = story();
  snapshots[0].description = "\xff";
  const auto json = tree_json(snapshots, 4);
  EXPECT_EQ(json["line"], "s1->s2->{s3->s4->(current-state), s5}");
  EXPECT_EQ(json["current_state"]["parent"], "s4");
  EXPECT_TRUE(json["snapshots"][0]["parent"].is_null());
  EXPECT_EQ(json["snapshots"][4]["parent"], "s2");
  EXPECT_EQ(json["snapshots"][4]["parent_id"], 2);
  EXPECT_FALSE(json_text(json).empty());
}

}  // namespace
}  // namespace fvd
