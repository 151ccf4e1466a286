// Why a camera or microphone did not start, from the errors of getUserMedia.

export type MediaFault = 'refused' | 'absent' | 'busy' | 'insecure' | 'failed';

export function faultOf(error: unknown): MediaFault {
  switch (error instanceof Error ? error.name : '') {
    case 'NotAllowedError':
    case 'SecurityError':
    case 'PermissionDeniedError':
      return 'refused';
    case 'NotFoundError':
    case 'DevicesNotFoundError':
      return 'absent';
    case 'NotReadableError':
    case 'TrackStartError':
    case 'AbortError':
      return 'busy';
    default:
      return 'failed';
  }
}
