"""RELION's labels of STAR columns with their types, to tell a misspelt or mistyped column: names and types are facts about RELION 3.0 to 5, the table is ours.

Sources: the labels that RELION 3.1.3 prints (`relion_refine --print_metadata_labels`) and those of the files and documentation of RELION 4 and 5.
"""

from difflib import get_close_matches
from functools import cache
from typing import Literal

LabelKind = Literal["double", "int", "bool", "string", "vector"]

# without the rln that all begin with
_DOUBLE = """
AccumMotionEarly AccumMotionLate AccumMotionTotal AccuracyRotations AccuracyTranslations AccuracyTranslationsAngst
AdaptiveOversampleFraction AmplitudeContrast AmplitudeCorrelationMaskedMaps AmplitudeCorrelationUnmaskedMaps AnglePsi
AnglePsiFlipRatio AnglePsiPrior AngleRot AngleRotFlipRatio AngleRotPrior AngleTilt AngleTiltPrior AngstromResolution
AutopickFigureOfMerit AvailableMemory AveragePmax AverageValue BeamTiltX BeamTiltY BestResolutionThusFar
BfactorUsedForSharpening BodyRotateDirectionX BodyRotateDirectionY BodyRotateDirectionZ BodySigmaAngles BodySigmaOffset
BodySigmaOffsetAngst BodySigmaPsi BodySigmaRot BodySigmaTilt CenteredCoordinateXAngst CenteredCoordinateYAngst
CenteredCoordinateZAngst ChangesOptimalClasses ChangesOptimalOffsets ChangesOptimalOrientations ChromaticAberration
ClassDistribution ClassPriorOffsetX ClassPriorOffsetY ClassScore ConvergenceCone CoordinateX CoordinateY CoordinateZ
CorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps CorrelationFitGuinierPlot CtfAstigmatism CtfBfactor CtfFigureOfMerit
CtfIceRingDensity CtfMaxResolution CtfScalefactor CtfValidationScore CtfValue CurrentResolution DefocusAngle DefocusU DefocusV
DetectorPixelSize Diff2RandomHalves DifferentialPhaseResidualMaskedMaps DifferentialPhaseResidualUnmaskedMaps EdgeSignal
EnergyLoss EstimatedResolution FftKurt FftMean FftSkew FftStddev FinalResolution FittedInterceptGuinierPlot
FittedSlopeGuinierPlot FourierCompleteness FourierShellCorrelation FourierShellCorrelationCorrected
FourierShellCorrelationMaskedMaps FourierShellCorrelationParticleMaskFraction FourierShellCorrelationParticleMolWeight
FourierShellCorrelationUnmaskedMaps GoldStandardFsc GradCurrentStepsize GroupScaleCorrection HelicalCentralProportion
HelicalMaskTubeInnerDiameter HelicalMaskTubeOuterDiameter HelicalOffsetStep HelicalRise HelicalRiseInitial
HelicalRiseInitialStep HelicalRiseMax HelicalRiseMin HelicalSigmaDistance HelicalTrackLength HelicalTrackLengthAngst
HelicalTubePitch HelicalTwist HelicalTwistInitial HelicalTwistInitialStep HelicalTwistMax HelicalTwistMin
HighresLimitExpectation HighresLimitSGD ImagePixelSize ImageWeight InnerCircleKurt InnerCircleMean InnerCircleSkew
InnerCircleStddev JobOptionSliderMax JobOptionSliderMin JobOptionSliderStep JobScore JoinHalvesUntilThisResolution
KullbackLeiblerDivergence KullbackLeibnerDivergence KurtosisExcessValue LensStability LogAmplitudesIntercept
LogAmplitudesMTFCorrected LogAmplitudesOriginal LogAmplitudesSharpened LogAmplitudesWeighted LogLikeliContribution
LogLikelihood LongitudinalDisplacement LowpassFilteredImageMax LowpassFilteredImageMean LowpassFilteredImageMin
LowpassFilteredImageStddev LowresLimitExpectation MagMat00 MagMat01 MagMat10 MagMat11 Magnification MagnificationCorrection
MagnificationSearchRange MagnificationSearchStep Matrix_1_1 Matrix_1_2 Matrix_1_3 Matrix_2_1 Matrix_2_2 Matrix_2_3 Matrix_3_1
Matrix_3_2 Matrix_3_3 MaxValueProbDistribution MaximumValue MicrographBinning MicrographDoseRate MicrographIceThickness
MicrographOriginalPixelSize MicrographPixelSize MicrographPreExposure MicrographShiftX MicrographShiftY MicrographTiltAngle
MicrographTiltAxisDirection MicrographTiltAxisOutOfPlane MinimumValue MolecularWeight MotionModelCoeff MtfValue NormCorrection
NormCorrectionAverage OffsetRange OffsetRangeOriginal OffsetRangeX OffsetRangeY OffsetRangeZ OffsetStep OffsetStepOriginal
OrientationDistribution OriginX OriginXAngst OriginXPrior OriginXPriorAngst OriginY OriginYAngst OriginYPrior
OriginYPriorAngst OriginZ OriginZAngst OriginZPrior OriginZPriorAngst OverallAccuracyRotations OverallAccuracyTranslations
OverallAccuracyTranslationsAngst OverallFourierCompleteness PaddingFactor ParticleBoxFractionMolecularWeight
ParticleBoxFractionSolventMask ParticleDiameter ParticleFigureOfMerit ParticleSelectZScore PerFrameCumulativeWeight
PerFrameRelativeWeight PhaseShift PixelSize PredictedClassScore ProteinCAR ProteinEntropy ProteinKurt ProteinMean ProteinSkew
ProteinStddev ProteinSum PsiStep PsiStepOriginal RandomiseFrom ReferenceSigma2 ReferenceSpectralPower ReferenceTau2
RelativeResolution RelativeSignalIntensity Resolution ResolutionInversePixel ResolutionSquared RingKurt RingMean RingSkew
RingStddev SamplingPerturbFactor SamplingPerturbInstance SamplingRate SamplingRateX SamplingRateY SamplingRateZ
ScatteredSignal ScheduleFloatVariableResetValue ScheduleFloatVariableValue SchemeFloatVariableResetValue
SchemeFloatVariableValue SgdClassInactivityThreshold SgdFinalIterationsFraction SgdFinalResolution
SgdInitialIterationsFraction SgdInitialResolution SgdMinimumResolution SgdMuFactor SgdSigma2FudgeInitial SgdStepsize
Sigma2Noise SigmaOffsets SigmaOffsetsAngst SigmaPriorPsiAngle SigmaPriorRotAngle SigmaPriorTiltAngle SignalToNoiseRatio
SkewnessValue SmallestChangesOffsets SmallestChangesOrientations SolventEntropy SolventKurt SolventMean SolventSkew
SolventStddev SolventSum SpectralOrientabilityContribution SphericalAberration SsnrMap StandardDeviationValue Tau2FudgeArg
Tau2FudgeFactor TiltAngleLimit TomoDefocusSlope TomoHand TomoIceNormalX TomoIceNormalY TomoIceNormalZ TomoImportFractionalDose
TomoImportOffsetX TomoImportOffsetY TomoImportOffsetZ TomoNominalDefocus TomoNominalStageTiltAngle TomoNominalTiltAxisAngle
TomoRelativeIceThickness TomoRelativeLuminance TomoSubtomogramBinning TomoSubtomogramPsi TomoSubtomogramRot
TomoSubtomogramTilt TomoTempPredSquared TomoTempPredTimesObs TomoTiltSeriesPixelSize TomoTomogramBinning TomoXShiftAngst
TomoXTilt TomoYShiftAngst TomoYTilt TomoZRot TotalEntropy TransversalDisplacement Voltage WeightedResolution
"""
_INT = """
AdaptiveOversampleOrder AreaId AutoLocalSearchesHealpixOrder AverageNrOfFrames BeamTiltClass BodyKeepFixed
BodyRotateRelativeTo ClassNumber CoarseImageSize CurrentImageSize CurrentIteration DataDimensionality DataType EERGrouping
EERUpsampling FourierSpaceInterpolator GradEmIters GradSubsetOrder GradSuspendFinerSamplingIter GradSuspendLocalSamplingIter
GroupNrParticles GroupNumber HasLargeSizeIncreaseIterationsAgo HealpixOrder HealpixOrderOriginal HelicalTubeID
ImageDimensionality ImageId ImageSize ImageSizeX ImageSizeY ImageSizeZ IncrementImageSize JobType JoboptionType
MaxNumberOfPooledParticles MaximumCoarseImageSize MaximumSignificantPoses MicrographEndFrame MicrographFrameNumber
MicrographId MicrographStartFrame MinRadiusNnInterpolation MotionModelCoeffsIdx MotionModelVersion MovieFrameNumber
MovieFramesRunningAverage NrBodies NrClasses NrGroups NrHelicalAsymUnits NrHelicalNStart NrOfFrames NrOfSignificantSamples
NrOpticsGroups NumberOfIterWithoutChangingAssignments NumberOfIterWithoutResolutionGain NumberOfIterations OpticsGroup
OpticsGroupNrParticles OpticsGroupNumber OrientationalPriorMode OrientationsID OriginalImageSize ParticleId ParticleNumber
PipeLineJobCounter PipeLineNodeType PipeLineNodeTypeLabelDepth PipeLineProcessStatus PipeLineProcessType ProteinArea
RadiusMaskExpImages RadiusMaskMap RandomSeed RandomSubset ReferenceDimensionality ScheduleEdgeNumber SchemeEdgeNumber Selected
SgdFinalIterations SgdFinalSubsetSize SgdInBetweenIterations SgdInitialIterations SgdInitialSubsetSize SgdMaxSubsets
SgdSigma2FudgeHalflife SgdSubsetSize SgdWriteEverySubset SmallestChangesClasses SolventArea SortedIndex SpectralIndex
TomoDeformationGridSizeX TomoDeformationGridSizeY TomoFrameCount TomoManifoldIndex TomoParticleId TomoSizeX TomoSizeY
TomoSizeZ TomoTiltMovieFrameCount TomoTiltMovieIndex WidthMaskEdge
"""
_BOOL = """
AnglePsiFlip BlushNoSpectralTrailing CtfDataAreCtfPremultiplied CtfDataArePhaseFlipped DoAutoRefine DoAutoSampling DoBlush
DoCenterClasses DoCorrectCtf DoCorrectMagnification DoCorrectNorm DoCorrectScale DoExternalReconstruct
DoFastSubsetOptimisation DoGradientRefine DoHelicalRefine DoIgnoreCtfUntilFirstPeak DoMapEstimation DoOnlyFlipCtfPhases
DoRealignMovies DoSkipAlign DoSkipRotate DoSolventFlattening DoSolventFscCorrection DoSplitRandomHalves DoStochasticEM
DoStochasticGradientDescent DoZeroMask Enabled FixSigmaNoiseEstimates FixSigmaOffsetEstimates FixTauEstimates GradHasConverged
HasConverged HasHighFscAtResolLimit HelicalKeepTiltPriorFixed HelicalSymmetryLocalRefinement IgnoreHelicalSymmetry
Is3DSampling Is3DTranslationalSampling IsFlip IsHelix JobIsContinue JobIsTomo RefsAreCtfCorrected
ScheduleBooleanVariableResetValue ScheduleBooleanVariableValue ScheduleEdgeIsFork ScheduleJobHasStarted
SchemeBooleanVariableResetValue SchemeBooleanVariableValue SchemeEdgeIsFork SchemeJobHasStarted SgdSkipAnneal
UseTooCoarseSampling
"""
_STRING = """
AreaName BodyMaskName BodyReferenceName BodyStarFile Comment CtfImage CtfPowerSpectrum EtomoDirectiveFile
ExperimentalDataStarFile ExtReconsDataImag ExtReconsDataReal ExtReconsResult ExtReconsResultStarfile ExtReconsWeight
FourierMask GradMoment1 GradMoment2 GroupName ImageName ImageOriginalName JobOptionDefaultValue JobOptionDirectoryDefault
JobOptionFilePattern JobOptionGUILabel JobOptionHelpText JobOptionMenuOptions JobOptionValue JobOptionVariable JobTypeLabel
JobTypeName LocalSymmetryFile MaskName MicrographCoordinates MicrographDefectFile MicrographGainName MicrographMetadata
MicrographMovieName MicrographName MicrographNameEven MicrographNameNoDW MicrographNameOdd ModelStarFile ModelStarFile2
MtfFileName OpticsGroupName OpticsStarFile OrientSamplingStarFile OriginalParticleName OutputRootName ParticleName
PipeLineEdgeFromNode PipeLineEdgeProcess PipeLineEdgeToNode PipeLineNodeName PipeLineNodeTypeLabel PipeLineProcessAlias
PipeLineProcessName PipeLineProcessStatusLabel PipeLineProcessTypeLabel ReconstructImageName ReferenceImage SGDGradientImage
ScheduleBooleanVariableName ScheduleCurrentNodeName ScheduleEdgeBooleanVariable ScheduleEdgeInputNodeName
ScheduleEdgeOutputNodeName ScheduleEdgeOutputNodeNameIfTrue ScheduleEmailAddress ScheduleFloatVariableName ScheduleJobMode
ScheduleJobName ScheduleJobNameOriginal ScheduleName ScheduleOperatorInput1 ScheduleOperatorInput2 ScheduleOperatorName
ScheduleOperatorOutput ScheduleOperatorType ScheduleOriginalStartNodeName ScheduleStringVariableName
ScheduleStringVariableResetValue ScheduleStringVariableValue SchemeBooleanVariableName SchemeCurrentNodeName
SchemeEdgeBooleanVariable SchemeEdgeInputNodeName SchemeEdgeOutputNodeName SchemeEdgeOutputNodeNameIfTrue SchemeEmailAddress
SchemeFloatVariableName SchemeJobMode SchemeJobName SchemeJobNameOriginal SchemeName SchemeOperatorInput1 SchemeOperatorInput2
SchemeOperatorName SchemeOperatorOutput SchemeOperatorType SchemeOriginalStartNodeName SchemeStringVariableName
SchemeStringVariableResetValue SchemeStringVariableValue SgdStepsizeScheme SolventMask2Name SolventMaskName
StarFileMovieParticles SubImageStack SubImageStarFile SymmetryGroup Tau2FudgeScheme TauSpectrumName TomoDeformationType
TomoFiducialsStarFile TomoImportCtfFindFile TomoImportCtfPlotterFile TomoImportCulledFile TomoImportImodDir
TomoImportOrderList TomoImportParticleFile TomoManifoldType TomoManifoldsFile TomoName TomoParticleName TomoParticlesFile
TomoReconstructedTomogram TomoReconstructedTomogramDenoised TomoReconstructedTomogramHalf1 TomoReconstructedTomogramHalf2
TomoReferenceFscFile TomoReferenceMap1File TomoReferenceMap2File TomoReferenceMaskFile TomoTiltMovieFile TomoTiltSeriesName
TomoTiltSeriesStarFile TomoTomogramsFile TomoTrajectoriesFile UnfilteredMapHalf1 UnfilteredMapHalf2 UnknownLabel
"""
_VECTOR = """
EvenZernike Granulo LBP NormalizedFeatureVector OddZernike ProteinHaralick ProteinLBP SolventHaralick SolventLBP
TomoDeformationCoefficients TomoManifoldParams TomoProjW TomoProjX TomoProjY TomoProjZ TomoVisibleFrames ZernikeMoments
"""


@cache
def relion_labels() -> dict[str, LabelKind]:
    """The type of each of RELION's labels."""
    kinds: tuple[tuple[LabelKind, str], ...] = (
        ("double", _DOUBLE),
        ("int", _INT),
        ("bool", _BOOL),
        ("string", _STRING),
        ("vector", _VECTOR),
    )
    return {f"rln{name}": kind for kind, names in kinds for name in names.split()}


def kind_of_label(label: str) -> LabelKind | None:
    """The type of RELION's label of this name, or None where RELION has none.

    Examples
    --------
    >>> kind_of_label("rlnDefocusU"), kind_of_label("rlnDefocus")
    ('double', None)
    """
    return relion_labels().get(label)


def label_of_any_case(label: str) -> str:
    """RELION's label of this name in letters of any case, or nothing.

    Examples
    --------
    >>> label_of_any_case("RLNdefocusu")
    'rlnDefocusU'
    """
    return _folded().get(label.lower(), "")


@cache
def _folded() -> dict[str, str]:
    """The labels by their names in lower case."""
    return {name.lower(): name for name in relion_labels()}


def nearest_label(label: str) -> str:
    """The name of RELION's that is most like this one, or nothing where none is.

    Examples
    --------
    >>> nearest_label("rlnDefocusu"), nearest_label("rlnAngelRot")
    ('rlnDefocusU', 'rlnAngleRot')
    """
    near = get_close_matches(label[:100], relion_labels(), n=1, cutoff=0.85)
    return label_of_any_case(label) or (near[0] if near else "")
