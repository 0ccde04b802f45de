package storagesuite

import (
	"context"
	"errors"
	"flag"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
)

// suite is every test of Kubernetes' suite that its own stores run and that says something of ours, each over a store
// of its own.
var suite = map[string]func(context.Context, *testing.T, *store){
	"RunTestCreate": func(ctx context.Context, t *testing.T, s *store) {
		storagetesting.RunTestCreate(ctx, t, s, s.checkStored)
	},
	"RunTestCreateWithTTL":                       plain(storagetesting.RunTestCreateWithTTL),
	"RunTestCreateWithKeyExist":                  plain(storagetesting.RunTestCreateWithKeyExist),
	"RunTestGet":                                 plain(storagetesting.RunTestGet),
	"RunTestKeySchema":                           plain(storagetesting.RunTestKeySchema),
	"RunTestUnconditionalDelete":                 plain(storagetesting.RunTestUnconditionalDelete),
	"RunTestConditionalDelete":                   plain(storagetesting.RunTestConditionalDelete),
	"RunTestDeleteWithSuggestion":                plain(storagetesting.RunTestDeleteWithSuggestion),
	"RunTestDeleteWithSuggestionAndConflict":     plain(storagetesting.RunTestDeleteWithSuggestionAndConflict),
	"RunTestDeleteWithSuggestionOfDeletedObject": plain(storagetesting.RunTestDeleteWithSuggestionOfDeletedObject),
	"RunTestDeleteWithConflict":                  plain(storagetesting.RunTestDeleteWithConflict),
	"RunTestValidateDeletionWithSuggestion":      plain(storagetesting.RunTestValidateDeletionWithSuggestion),
	"RunTestPreconditionalDeleteWithSuggestion":  plain(storagetesting.RunTestPreconditionalDeleteWithSuggestion),
	"RunTestValidateDeletionWithOnlySuggestionValid": plain(
		storagetesting.RunTestValidateDeletionWithOnlySuggestionValid),
	"RunTestPreconditionalDeleteWithOnlySuggestionPass": plain(
		storagetesting.RunTestPreconditionalDeleteWithOnlySuggestionPass),
	"RunTestDeleteWithSuggestionAndMissingExpectedTransformOrDecodeError": func(ctx context.Context, t *testing.T, s *store) {
		storagetesting.RunTestDeleteWithSuggestionAndMissingExpectedTransformOrDecodeError(ctx, t, s)
	},
	"RunTestDeleteWithConflictAndMissingExpectedTransformOrDecodeError": func(ctx context.Context, t *testing.T, s *store) {
		storagetesting.RunTestDeleteWithConflictAndMissingExpectedTransformOrDecodeError(ctx, t, s, s.setFailing)
	},
	"RunTestDeleteExpectedTransformOrDecodeError": func(ctx context.Context, t *testing.T, s *store) {
		storagetesting.RunTestDeleteExpectedTransformOrDecodeError(ctx, t, s, s.setFailing)
	},
	"RunTestGuaranteedUpdate": func(ctx context.Context, t *testing.T, s *store) {
		storagetesting.RunTestGuaranteedUpdate(ctx, t, s, s.checkStored)
	},
	"RunTestGuaranteedUpdateChecksStoredData": func(ctx context.Context, t *testing.T, s *store) {
		storagetesting.RunTestGuaranteedUpdateChecksStoredData(ctx, t, s)
	},
	"RunTestGuaranteedUpdateWithTTL":                   plain(storagetesting.RunTestGuaranteedUpdateWithTTL),
	"RunTestGuaranteedUpdateWithConflict":              plain(storagetesting.RunTestGuaranteedUpdateWithConflict),
	"RunTestGuaranteedUpdateWithSuggestionAndConflict": plain(storagetesting.RunTestGuaranteedUpdateWithSuggestionAndConflict),
	"RunTestTransformationFailure": func(ctx context.Context, t *testing.T, s *store) {
		storagetesting.RunTestTransformationFailure(ctx, t, s)
	},
	"RunTestStats": func(ctx context.Context, t *testing.T, s *store) {
		storagetesting.RunTestStats(ctx, t, s, s.c.Codec, s.c.Transformer, false)
		require.NoError(t, s.EnableResourceSizeEstimation(nil))
		storagetesting.RunTestStats(ctx, t, s, s.c.Codec, s.c.Transformer, true)
	},

	"RunTestList": func(ctx context.Context, t *testing.T, s *store) {
		storagetesting.RunTestList(ctx, t, s, s.compact, false, nil)
	},
	"RunTestConsistentList": func(ctx context.Context, t *testing.T, s *store) {
		storagetesting.RunTestConsistentList(ctx, t, s, s.increase, false, true, false)
	},
	"RunTestListPaging":             plain(storagetesting.RunTestListPaging),
	"RunTestNamespaceScopedList":    plain(storagetesting.RunTestNamespaceScopedList),
	"RunTestGetListRecursivePrefix": plain(storagetesting.RunTestGetListRecursivePrefix),
	"RunTestGetListNonRecursive": func(ctx context.Context, t *testing.T, s *store) {
		storagetesting.RunTestGetListNonRecursive(ctx, t, s.increase, s)
	},
	"RunTestListContinuation": func(ctx context.Context, t *testing.T, s *store) {
		storagetesting.RunTestListContinuation(ctx, t, s, s.checkReads)
	},
	"RunTestListContinuationWithFilter": func(ctx context.Context, t *testing.T, s *store) {
		storagetesting.RunTestListContinuationWithFilter(ctx, t, s, s.checkReads)
	},
	"RunTestListPaginationRareObject": func(ctx context.Context, t *testing.T, s *store) {
		storagetesting.RunTestListPaginationRareObject(ctx, t, s, s.checkReads)
	},
	"RunTestListInconsistentContinuation": func(ctx context.Context, t *testing.T, s *store) {
		storagetesting.RunTestListInconsistentContinuation(ctx, t, s, s.compact)
	},
	"RunTestListResourceVersionMatch": func(ctx context.Context, t *testing.T, s *store) {
		storagetesting.RunTestListResourceVersionMatch(ctx, t, s)
	},
	"RunTestGetListWithoutErrorAggregation": func(ctx context.Context, t *testing.T, s *store) {
		storagetesting.RunTestGetListWithoutErrorAggregation(ctx, t, s, errors.New("bits flipped"))
	},
	"RunTestCompactRevision": func(ctx context.Context, t *testing.T, s *store) {
		storagetesting.RunTestCompactRevision(ctx, t, s, s.increase, s.compact)
	},

	"RunTestWatch":                plain(storagetesting.RunTestWatch),
	"RunTestClusterScopedWatch":   plain(storagetesting.RunTestClusterScopedWatch),
	"RunTestNamespaceScopedWatch": plain(storagetesting.RunTestNamespaceScopedWatch),
	"RunTestDeleteTriggerWatch":   plain(storagetesting.RunTestDeleteTriggerWatch),
	"RunTestWatchFromZero": func(ctx context.Context, t *testing.T, s *store) {
		storagetesting.RunTestWatchFromZero(ctx, t, s, s.compact)
	},
	"RunTestWatchFromNonZero":     plain(storagetesting.RunTestWatchFromNonZero),
	"RunTestDelayedWatchDelivery": plain(storagetesting.RunTestDelayedWatchDelivery),
	"RunTestWatchError": func(ctx context.Context, t *testing.T, s *store) {
		storagetesting.RunTestWatchError(ctx, t, s)
	},
	"RunTestWatchWithUnsafeDelete": func(ctx context.Context, t *testing.T, s *store) {
		storagetesting.RunTestWatchWithUnsafeDelete(ctx, t, s, errors.New("bits flipped"))
	},
	"RunWatchErrorIsBlockingFurtherEvents": func(ctx context.Context, t *testing.T, s *store) {
		storagetesting.RunWatchErrorIsBlockingFurtherEvents(ctx, t, s)
	},
	"RunTestWatchContextCancel":                 plain(storagetesting.RunTestWatchContextCancel),
	"RunTestWatcherTimeout":                     plain(storagetesting.RunTestWatcherTimeout),
	"RunTestWatchDeleteEventObjectHaveLatestRV": plain(storagetesting.RunTestWatchDeleteEventObjectHaveLatestRV),
	"RunTestWatchInitializationSignal":          plain(storagetesting.RunTestWatchInitializationSignal),
	"RunOptionalTestProgressNotify": func(ctx context.Context, t *testing.T, s *store) {
		storagetesting.RunOptionalTestProgressNotify(ctx, t, s, s.increase)
	},
	"RunTestWatchDispatchBookmarkEvents": func(ctx context.Context, t *testing.T, s *store) {
		storagetesting.RunTestWatchDispatchBookmarkEvents(ctx, t, s, true)
	},
	"RunTestOptionalWatchBookmarksWithCorrectResourceVersion": plain(
		storagetesting.RunTestOptionalWatchBookmarksWithCorrectResourceVersion),
	"RunSendInitialEventsBackwardCompatibility": plain(storagetesting.RunSendInitialEventsBackwardCompatibility),
	"RunWatchSemantics":                         plain(storagetesting.RunWatchSemantics),
	"RunWatchSemanticInitialEventsExtended":     plain(storagetesting.RunWatchSemanticInitialEventsExtended),
	"RunWatchListMatchSingle":                   plain(storagetesting.RunWatchListMatchSingle),
}

// left are the tests of Kubernetes' suite that are not run, each with the reason.
var left = map[string]string{
	"RunTestGetListWithErrorAggregation": "how an API server sums up what its transformer refused, in one Status; the " +
		"table leaves such objects out of lists and names them in Snapshot.Corrupt",
	"RunBenchmarkWriteThroughput": "a benchmark",
	"RunBenchmarkStoreList":       "a benchmark",
	"RunBenchmarkStoreStats":      "a benchmark",
}

// latest are the tests that, called as here, take resourceVersion "0" for the latest: a store without a cache can
// promise that, one with a cache need not. Kubernetes calls them so for its store without a cache alone.
var latest = []string{
	"RunTestConsistentList", "RunTestListInconsistentContinuation", "RunTestWatchWithUnsafeDelete",
}

// alone are the tests that set feature gates, which are global, in themselves, and one that is in a hurry.
var alone = []string{
	"RunWatchSemantics", "RunWatchSemanticInitialEventsExtended", "RunWatchListMatchSingle", "RunTestGet",
}

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil { // they wait more than they work
		panic(err)
	}
	os.Exit(m.Run())
}

// TestSuite runs the suite over every backend.
func TestSuite(t *testing.T) {
	for name, open := range map[string]opener{"memory": inMemory, "sealed": underSeal, "etcd": inEtcd} {
		for test, run := range suite {
			t.Run(name+"/"+test, func(t *testing.T) {
				if !slices.Contains(alone, test) {
					t.Parallel()
				}
				run(t.Context(), t, newStore(t, open, slices.Contains(latest, test)))
			})
		}
	}
}
